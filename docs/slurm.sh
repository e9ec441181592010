#!/bin/bash
#SBATCH --job-name=lenet5
#SBATCH --ntasks-per-node=1
# Ray on the nodes of this allocation, and there a sweep or a search:
#   sbatch --nodes=4 --cpus-per-task=32 --time=02:00:00 docs/slurm.sh -m src.sweep 'lr=0.01,0.02' 'seed=0..9'
# To be submitted in the repository. When the time is over, submit the same again: it does what is left.
set -euo pipefail
export PATH=$PWD/.venv/bin:$PATH

# A token of this allocation's own: srun hands the variables on.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | cut -d ' ' -f 1)
port=$((20000 + SLURM_JOB_ID % 20000))  # several jobs may share a node
temporary=/tmp/ray-$SLURM_JOB_ID
cpus=${SLURM_CPUS_PER_TASK:-1}
common=(--num-cpus="$cpus" --disable-usage-stats --block)

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --node-ip-address="$ip" --port="$port" --temp-dir="$temporary" --include-dashboard=false \
  "${common[@]}" &
# It needs some seconds; the other nodes may join while experiments run.
for _ in $(seq 60); do
  ray status --address="$ip:$port" >/dev/null 2>&1 && break
  sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  others=$((SLURM_JOB_NUM_NODES - 1))
  # Without --ntasks, as many as the allocation has nodes: one too many.
  srun --overlap --nodes="$others" --ntasks="$others" --ntasks-per-node=1 --exclude="$head" \
    ray start --address="$ip:$port" "${common[@]}" &
fi
python "$@" --address "$ip:$port"
