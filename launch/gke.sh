#!/usr/bin/env bash
# Train on a GKE cluster with the JobSet controller, on one slice of TPUs:
#
#     launch/gke.sh --name=hmr --image=IMAGE --accelerator=tpu-v5-lite-podslice --topology=4x8 \
#         --hosts=8 --chips=4 --bucket=BUCKET -- --config=configs/regressor.py --workdir=/data/run
#
# In IMAGE, `python` is 3.11 to 3.13, this checkout is the working directory, and `pip install
# .[tpu]` was run in it. --chips are those of one host. The bucket is mounted at /data by gcsfuse.
# --dry-run prints the manifest. Preempted or killed, the job starts again; failed (exit code 1), it
# does not. Run again, this replaces a job of its name that has ended, and refuses one that has not.
set -euo pipefail

name='' image='' accelerator='' topology='' hosts='' chips='' bucket='' dry=''
while (($#)) && [[ $1 != -- ]]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --image=*) image=${1#*=} ;;
        --accelerator=*) accelerator=${1#*=} ;;
        --topology=*) topology=${1#*=} ;;
        --hosts=*) hosts=${1#*=} ;;
        --chips=*) chips=${1#*=} ;;
        --bucket=*) bucket=${1#*=} ;;
        --dry-run) dry=1 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
if ! shift || ! (($#)); then
    echo 'expected: OPTIONS -- TRAINING OPTIONS' >&2
    exit 2
fi

# Bash 5.2 would take an & in a value for the field that it fills.
shopt -u patsub_replacement 2> /dev/null || true
manifest=$(< "$(dirname "$0")/jobset.yaml")
fill() {
    [[ $2 ]] || { echo "--$1 is missing" >&2; exit 2; }
    local field="{$1}"
    manifest=${manifest//$field/$2}
}
fill name "$name"
fill image "$image"
fill accelerator "$accelerator"
fill topology "$topology"
fill hosts "$hosts"
fill chips "$chips"
fill bucket "$bucket"
quote="'" arguments=''
for each in "$@"; do
    each=${each//$quote/$quote$quote}
    arguments+="${arguments:+, }'$each'"
done
fill arguments "$arguments"
if [[ $dry ]]; then
    echo "$manifest"
    exit
fi

found=$(kubectl get jobset "$name" --ignore-not-found -o 'jsonpath=is {.status.terminalState}')
case $found in
    '') ;;
    'is Completed' | 'is Failed') kubectl delete jobset "$name" --cascade=foreground ;;
    *) echo "$name has not ended; to end it: kubectl delete jobset $name" >&2; exit 1 ;;
esac
kubectl create -f - <<< "$manifest"
