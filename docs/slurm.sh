#!/usr/bin/env bash
# One run as a Slurm job, which goes on by itself when it has been preempted or its time is over:
#
#     sbatch docs/slurm.sh --config configs/dfad.yaml
#
#SBATCH --job-name=lightning-tasks
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append

set -uo pipefail

trap : TERM # Slurm may signal this shell too, which is to wait for the run
srun python cli.py fit "$@" --ckpt_path last
status=$?
# The run was stopped by SIGTERM. A preempted job is requeued by Slurm itself, one whose time is over is not.
if [[ $status -eq 143 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
