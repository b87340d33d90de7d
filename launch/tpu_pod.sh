#!/usr/bin/env bash
# Training on a slice of TPUs, spot by default, restarted after every preemption:
#
#     launch/tpu_pod.sh --name=hmr --zone=us-central1-a --type=v5litepod-32 --setup='COMMAND' -- \
#         --config=configs/regressor.py --workdir=/data/runs/regressor
#
# Needs gcloud, and this checkout as the current folder, with all changes committed. Each worker
# of a new slice runs --setup before the training, to mount the file system of the data and the
# workdir. An example for a bucket follows; docs/clusters.md has gcsfuse's options for fast reading:
#
#     url=https://github.com/GoogleCloudPlatform/gcsfuse/releases/download
#     --setup="curl -sfLO $url/v3.2.0/gcsfuse_3.2.0_amd64.deb &&
#         sudo apt-get -o DPkg::Lock::Timeout=600 install -qy ./gcsfuse_3.2.0_amd64.deb &&
#         sudo mkdir -m 777 /data && gcsfuse --implicit-dirs --rename-dir-limit=200000 BUCKET /data"
#
# --on-demand asks for a slice that is not preempted; --dry-run prints the commands. At the end
# the slice is deleted, and the exit code is the training's, 0 or 1. It is also 1 after three slices
# in a row that could not be made ready. The training survives a lost connection. After Ctrl-C the
# slice goes on training, and is billed; the script says how to delete it.
set -euo pipefail

name='' zone='' type='' setup='' spot=--spot dry=''
while (($#)) && [[ $1 != -- ]]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --zone=*) zone=${1#*=} ;;
        --type=*) type=${1#*=} ;;
        --setup=*) setup=${1#*=} ;;
        --on-demand) spot='' ;;
        --dry-run) dry=1 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
if [[ -z $name || -z $zone || -z $type ]] || ! shift; then
    echo 'expected: --name=N --zone=Z --type=T [--setup=COMMAND] [--on-demand] [--dry-run]' \
        '-- TRAINING OPTIONS' >&2
    exit 2
fi
case $type in
    v4-*) runtime=tpu-ubuntu2204-base ;;
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
    *) echo "--type=$type: expected v4-N, v5litepod-N, v5p-N or v6e-N" >&2; exit 2 ;;
esac
changes=$(git status --porcelain)
if [[ $changes ]]; then
    echo 'these changes would not be sent: commit them, or let git ignore them' >&2
    echo "$changes" >&2
    exit 1
fi

poll=${POLL_SECONDS:-30}
training=$(printf ' %q' "$@")
# The training outlives the connection that started it, and holds a lock while it runs.
train="cd tokenhmr; exec 9> running; flock 9; {
    .venv/bin/python -m tokenhmr_jax.train --distributed$training 9>&-; echo \$? > exit_code
} > train.log 2>&1 < /dev/null &"
# Shows the training's log until its end, then prints its exit code; `lost` if it was killed.
watch="cd tokenhmr; flock running true & tail -n 100 -F --pid=\$! train.log >&2
    cat exit_code 2> /dev/null || echo lost"
deletion=(queued-resources delete "$name" --force --quiet)

tpus() {
    if [[ $dry ]]; then
        printf '%q ' gcloud compute tpus "$@" "--zone=$zone"
        echo
    else
        gcloud compute tpus "$@" "--zone=$zone"
    fi
}
on_all() { tpus tpu-vm ssh "$name" --worker=all "--command=$1"; }

# State of the slice; `gone` if it does not exist, `unknown` if gcloud fails, as without a network.
state() {
    local said
    said=$(tpus queued-resources describe "$name" '--format=value(state.state)' 2>&1) || true
    if [[ $said == *NOT_FOUND* ]]; then
        echo gone
    else
        grep -xE '[A-Z_]+' <<< "$said" || { echo "$said" >&2; echo unknown; }
    fi
}

create() {
    billed=1
    tpus queued-resources create "$name" "--node-id=$name" "--accelerator-type=$type" \
        "--runtime-version=$runtime" ${spot:+"$spot"} || return
    while [[ ! $dry ]]; do
        case $(state) in
            ACTIVE) return ;;
            FAILED | SUSPENDING | SUSPENDED | gone) return 1 ;;
        esac
        sleep "$poll"
    done
}

# Some runtimes have a Python that is too old.
install() {
    if [[ $setup ]]; then
        on_all "$setup" || return
    fi
    tpus tpu-vm scp "$archive" "$name:tokenhmr.tar.gz" --worker=all &&
        on_all 'mkdir -p tokenhmr && tar -xzf tokenhmr.tar.gz -C tokenhmr && cd tokenhmr &&
            python3 -m pip install -q --user uv && python3 -m uv venv -q --python 3.12 .venv &&
            python3 -m uv pip install -q --python .venv -e ".[tpu]"'
}

# Exit codes of the workers that answer.
outcome() {
    local codes silent=0
    until codes=$(on_all "$watch"); do
        case $(state) in
            ACTIVE | unknown) ;;
            *) break ;;
        esac
        # All workers end together: one that stays silent after another's end is lost.
        if [[ $codes ]] && ((++silent == 3)); then
            break
        fi
        echo 'not all workers answer: asking again' >&2
        sleep "$poll"
    done
    echo "$codes"
}

remove() {
    for _ in 1 2 3; do
        if tpus "${deletion[@]}" || [[ $(state) == gone ]]; then
            billed=''
            return
        fi
        sleep "$poll"
    done
}

leave() {
    rm -f "$archive"
    if [[ $billed ]]; then
        echo "the slice $name may still be there, and billed. To delete it:" >&2
        echo "    gcloud compute tpus ${deletion[*]} --zone=$zone" >&2
    fi
}

archive=$(mktemp) billed=''
trap leave EXIT
trap 'exit 130' INT
git archive --format=tar.gz --output="$archive" HEAD
if [[ ! $dry ]]; then
    found=$(state)
    if [[ $found != gone ]]; then
        echo "the slice $name is $found: expected none of this name, to make and delete it" >&2
        exit 1
    fi
fi
failed=0
while true; do
    if ! { create && install && on_all "$train"; }; then
        echo "could not make the slice ready; it is $(state)" >&2
        remove
        ((++failed < 3)) || exit 1
        sleep "$poll"
        continue
    fi
    failed=0
    codes=$(outcome)
    if [[ $dry ]]; then
        echo "$codes"
        remove
        exit
    fi
    remove
    # If one worker failed, the others lost it.
    if grep -qx 1 <<< "$codes"; then
        exit 1
    elif ! grep -qvx 0 <<< "$codes"; then
        exit 0
    fi
    codes=${codes:-a lost slice}
    echo "training ended with ${codes//$'\n'/ }: starting again" >&2
done
