#!/usr/bin/env bash
# Train on a GKE cluster with the JobSet controller, on one slice of TPUs:
#
#     launch/gke.sh --name=hmr --image=IMAGE --accelerator=tpu-v5-lite-podslice --topology=4x8 \
#         --hosts=8 --chips=4 --bucket=BUCKET -- --config=configs/regressor.py --workdir=/data/run
#
# --chips are those of one host. The bucket is mounted at /data by gcsfuse. --dry-run prints the
# manifest. Preempted or killed, the job starts again; failed (exit code 1), it does not.
set -euo pipefail

declare -A given=()
dry=''
while (($#)) && [[ $1 != -- ]]; do
    case $1 in
        --dry-run) dry=1 ;;
        --name=* | --image=* | --accelerator=* | --topology=* | --hosts=* | --chips=* | --bucket=*)
            option=${1%%=*}
            given[${option#--}]=${1#*=} ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
shift || { echo 'expected: OPTIONS -- TRAINING OPTIONS' >&2; exit 2; }
manifest=$(< "$(dirname "$0")/jobset.yaml")
for option in name image accelerator topology hosts chips bucket; do
    [[ ${given[$option]:-} ]] || { echo "--$option is missing" >&2; exit 2; }
    manifest=${manifest//"{$option}"/"${given[$option]}"}
done
arguments=''
for each in "$@"; do
    each=${each//\'/\'\'}
    arguments+="${arguments:+, }'$each'"
done
manifest=${manifest//"{arguments}"/"$arguments"}
if [[ $dry ]]; then
    echo "$manifest"
else
    kubectl apply -f - <<< "$manifest"
fi
