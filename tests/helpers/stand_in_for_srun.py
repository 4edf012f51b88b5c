"""Starts a Python script several times with the environment that Slurm's srun would give it on one machine.

python tests/helpers/stand_in_for_srun.py TASKS SCRIPT [ARGUMENT ...]
"""

import os
import subprocess
import sys

tasks, *command = sys.argv[1:]
job = os.environ | {
    "SLURM_JOB_ID": str(os.getpid()),
    "SLURM_JOB_NAME": "training",
    "SLURM_NODELIST": "127.0.0.1",
    "SLURM_NNODES": "1",
    "SLURM_NTASKS": tasks,
    "SLURM_NTASKS_PER_NODE": tasks,
    "SLURM_STEP_NUM_TASKS": tasks,
    "SLURM_NODEID": "0",
}
processes = [
    subprocess.Popen([sys.executable, *command], env=job | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank})
    for rank in map(str, range(int(tasks)))
]
sys.exit(max(process.wait() for process in processes))
