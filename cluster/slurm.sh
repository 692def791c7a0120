#!/usr/bin/env bash
# A question on nodes of Slurm: `sbatch cluster/slurm.sh robustness robustness_paper`, typed in the project's folder.
# How to use it: docs/cluster.md. Fill in the three marked places. Take the same job again to go on after a time limit.
#SBATCH --job-name=seedquake
#SBATCH --output=seedquake-%j.log
# FILL IN 1: how many nodes, of which partition, for how long. All of a node, since whoever reaches Ray runs code.
#SBATCH --partition=gpu
#SBATCH --nodes=2
#SBATCH --time=04:00:00
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
set -euo pipefail

# FILL IN 2: the project's folder, the same on every node, with the environment of `make setup` in it.
project="${SLURM_SUBMIT_DIR:?submit this file with sbatch}"
# FILL IN 3: the folder of rows, trials, reports and MLflow, the same on every node.
export SEEDQUAKE_OUTPUT="$HOME/seedquake/runs"

export PATH="$project/.venv/bin:$PATH"
cd "$project"

# A token of this job alone, so that only its own processes reach its Ray.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.ray/slurm-$SLURM_JOB_ID"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
(umask 077 && mkdir -p "$HOME/.ray" && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")

# Private addresses only: Ray listens where the nodes know each other, its dashboard on the first node itself.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_ADDRESS="$head:$port" RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# Ray starts on every node, the question runs on the first, and its exit status is that of the job.
srun --kill-on-bad-exit=0 ray symmetric-run --address "$RAY_ADDRESS" --min-nodes "$SLURM_JOB_NUM_NODES" -- seedquake "$@"
