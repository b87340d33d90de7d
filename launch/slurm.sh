#!/usr/bin/env bash
# Train on a Slurm cluster, one task per GPU:
#
#     launch/slurm.sh --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 -- \
#         --config=configs/regressor.py --workdir=/shared/runs/regressor
#
# What stands before `--` goes to sbatch, what stands after it to the training. --dry-run, first,
# prints what would be done. 120 s before the time is up, and at preemption, Slurm sends SIGTERM:
# the run saves, exits with 75, and the job is queued again, as it is when a node dies.
set -euo pipefail

# SLURM_JOB_ID is no sign of it: a shell of salloc or a notebook has one, too.
if [[ ${1:-} != --in-job ]]; then
    run=()
    if [[ ${1:-} == --dry-run ]]; then
        run=(echo)
        shift
    fi
    options=()
    while (($#)) && [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift || { echo 'expected: [--dry-run] SBATCH OPTIONS -- TRAINING OPTIONS' >&2; exit 2; }
    "${run[@]}" sbatch --requeue --open-mode=append --signal=TERM@120 "${options[@]}" \
        "$0" --in-job "$@"
    exit
fi
shift

# Runs one task's program, and writes down the code with which it fails. Slurm gives SIGTERM to
# this shell alone, not to what it started; and `wait` ends at a signal, whatever it waits for.
task() {
    "${@:2}" &
    child=$!
    trap 'kill -TERM "$child"' TERM
    while kill -0 "$child" 2> /dev/null; do
        wait "$child"
    done
    wait "$child" || { code=$?; echo "$code" >> "$1"; exit "$code"; }
}

# Without it, each task would end with a code that looks like one to try again.
python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || { echo "$python: no such program" >&2; exit 1; }
# srun returns the highest code: beside one that failed (1), others that lost it would hide that.
codes=exit_codes.$SLURM_JOB_ID
: > "$codes"
code=0
srun --kill-on-bad-exit=1 bash -c "$(declare -f task)"'; task "$@"' \
    task "$PWD/$codes" "$python" -m tokenhmr_jax.train --distributed "$@" ||
    { code=$?; echo "$code" >> "$codes"; }
# 126 and 127: a program that is not there, or cannot run, on some node.
if grep -qxE '1|126|127' "$codes"; then
    code=1
fi
rm "$codes"
# Neither done nor failed: told to stop (75), or lost a node or a process.
if ((code > 1)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
