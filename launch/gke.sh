#!/usr/bin/env bash
# Training on one slice of TPUs of a GKE cluster with the JobSet controller:
#
#     launch/gke.sh --name=hmr --image=IMAGE --accelerator=tpu-v5-lite-podslice --topology=4x8 \
#         --hosts=8 --chips=4 --bucket=BUCKET -- --config=configs/regressor.py --workdir=/data/run
#
# IMAGE has Python 3.11 to 3.13, this checkout as working directory, and `pip install .[tpu]` done.
# --chips counts the chips of one host. gcsfuse mounts the bucket at /data. --dry-run prints the
# manifest. A preempted or killed job starts again; a failed one (exit code 1) does not. An ended
# job of the same name is replaced; one under way is an error.
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

# Bash 5.2 replaces an & in a value by the matched field.
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
