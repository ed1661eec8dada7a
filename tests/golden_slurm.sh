#!/bin/bash
# 6 runs of the sweep quick-vit-0123abcd. What sbatch is told on its command line counts more
# than the lines below: sbatch --time=4:00:00 --cpus-per-task=8 THIS
#SBATCH --job-name=quick-vit-0123abcd
#SBATCH --array=0-5%4
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="/data/some where/my results/50%%/sweeps/quick-vit-0123abcd/run-%a.log"

cd '/data/some where' || exit 66
srun --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" '/opt/it'\''s/vitrine' sweep quick-vit-0123abcd \
    --row="$SLURM_ARRAY_TASK_ID" --threads="$SLURM_CPUS_PER_TASK" --results='my results' --data-dir='$data'
code=$?
# 75: saved before the time was up. The same task, queued again, goes on.
if [ "$code" -eq 75 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
