#!/usr/bin/env bash
# Train on a slice of TPUs, spot by default, and start again after every preemption:
#
#     launch/tpu_pod.sh --name=hmr --zone=us-central1-a --type=v5litepod-32 -- \
#         --config=configs/regressor.py --workdir=/data/runs/regressor
#
# Needs gcloud, and this checkout as the current folder; the data and the workdir lie on a file
# system that every worker mounts. --on-demand asks for what is not taken back; --dry-run prints
# what would be done. Ends with the training's exit code, 0 or 1, and deletes the slice; and with 1
# after three slices in a row that could not be made ready.
set -euo pipefail

name='' zone='' type='' spot=--spot dry=''
while (($#)) && [[ $1 != -- ]]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --zone=*) zone=${1#*=} ;;
        --type=*) type=${1#*=} ;;
        --on-demand) spot='' ;;
        --dry-run) dry=1 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
if [[ -z $name || -z $zone || -z $type ]] || ! shift; then
    echo 'expected: --name=N --zone=Z --type=T [--on-demand] [--dry-run] -- TRAINING OPTIONS' >&2
    exit 2
fi
case $type in
    v4-*) runtime=tpu-ubuntu2204-base ;;
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
    *) echo "--type=$type: expected v4-N, v5litepod-N, v5p-N or v6e-N" >&2; exit 2 ;;
esac

tpus() {
    if [[ $dry ]]; then
        printf '%q ' gcloud compute tpus "$@" "--zone=$zone"
        echo
    else
        gcloud compute tpus "$@" "--zone=$zone"
    fi
}
state() {
    tpus queued-resources describe "$name" '--format=value(state.state)' 2> /dev/null || echo gone
}
on() { tpus tpu-vm ssh "$name" "--worker=$1" "--command=$2"; }
remove() { tpus queued-resources delete "$name" --force --quiet || true; }

create() {
    tpus queued-resources create "$name" "--node-id=$name" "--accelerator-type=$type" \
        "--runtime-version=$runtime" ${spot:+"$spot"} || exit 1
    while [[ ! $dry ]]; do
        case $(state) in
            ACTIVE) return ;;
            FAILED | SUSPENDING | SUSPENDED) return 1 ;;
        esac
        sleep "${POLL_SECONDS:-30}"
    done
}

# Some runtimes bring a Python that is too old.
install() {
    tpus tpu-vm scp "$archive" "$name:tokenhmr.tar.gz" --worker=all &&
        on all 'mkdir -p tokenhmr && tar -xzf tokenhmr.tar.gz -C tokenhmr && cd tokenhmr &&
            python3 -m pip install -q --user uv && python3 -m uv venv -q --python 3.12 .venv &&
            python3 -m uv pip install -q --python .venv -e ".[tpu]"'
}

archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
training=$(printf ' %q' "$@")
failed=0
while true; do
    if ! { create && install; }; then
        echo "could not make the slice ready; it is $(state)" >&2
        remove
        ((++failed < 3)) || exit 1
        continue
    fi
    failed=0
    # What a worker returns is in a file: a lost connection tells nothing of it.
    on all "cd tokenhmr && rm -f exit_code;
        .venv/bin/python -m tokenhmr_jax.train --distributed$training; echo \$? > exit_code" || true
    [[ $dry ]] && { on all 'cat tokenhmr/exit_code'; remove; exit; }
    codes=$(on all 'cat tokenhmr/exit_code' 2> /dev/null || echo lost)
    # Where one failed, the others lost it.
    if grep -qx 1 <<< "$codes"; then
        remove
        exit 1
    elif ! grep -qvx 0 <<< "$codes"; then
        remove
        exit 0
    fi
    echo "training ended with ${codes//$'\n'/ }, slice is $(state): starting again" >&2
    remove
done
