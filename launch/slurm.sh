#!/usr/bin/env bash
# Training on a Slurm cluster, one task per GPU:
#
#     launch/slurm.sh --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 -- \
#         --config=configs/regressor.py --workdir=/shared/runs/regressor
#
# Options before `--` go to sbatch, those after it to the training. --dry-run as the first option
# prints the command. 120 s before the time limit, and at preemption, Slurm sends SIGTERM: the run
# saves and exits with 75, and the job is queued again. It is also queued again after a node dies.
set -euo pipefail

# SLURM_JOB_ID does not tell: shells of salloc and notebooks have one, too.
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

# Runs the program of one task, and logs the exit code of a failure. Slurm sends SIGTERM to this
# shell alone, so it forwards the signal; `wait` returns at a signal, so it is repeated.
task() {
    "${@:2}" &
    child=$!
    trap 'kill -TERM "$child"' TERM
    while kill -0 "$child" 2> /dev/null; do
        wait "$child"
    done
    wait "$child" || { code=$?; echo "$code" >> "$1"; exit "$code"; }
}

# A missing Python would give the tasks an exit code that means "queue again".
python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || { echo "$python: no such program" >&2; exit 1; }
# srun returns the highest code: tasks that lost a failed one (1) would hide its failure.
codes=exit_codes.$SLURM_JOB_ID
: > "$codes"
code=0
srun --kill-on-bad-exit=1 bash -c "$(declare -f task)"'; task "$@"' \
    task "$PWD/$codes" "$python" -m tokenhmr_jax.train --distributed "$@" ||
    { code=$?; echo "$code" >> "$codes"; }
# 126 and 127: the program is missing, or cannot run, on some node.
if grep -qxE '1|126|127' "$codes"; then
    code=1
fi
rm "$codes"
# Neither done nor failed: stopped (75), or lost a node or a process.
if ((code > 1)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
