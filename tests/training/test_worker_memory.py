"""Data loader workers hold next to none of the memory of the training."""

import json
import subprocess
import sys

import pytest

from tiny_training import ROOT, write_blobs

TRAIN_AND_MEASURE = """
import json, sys
from pathlib import Path
import psutil
from microseg.training.loop import TrainingLoop
from tiny_training import tiny_train

data, checkpoints = map(Path, sys.argv[1:])
held = {}
validate = TrainingLoop._validate

def anonymous_bytes(process):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

def measure(loop, *arguments):
    record = validate(loop, *arguments)
    held["training"] = anonymous_bytes(psutil.Process()) - before
    held["workers"] = [anonymous_bytes(worker) - before for worker in psutil.Process().children()]
    return record

tiny_train(data, checkpoints, epochs=1)
before = anonymous_bytes(psutil.Process())
TrainingLoop._validate = measure
tiny_train(data, checkpoints, base_channels=16, crop_size=256, crops_per_micrograph=2, num_workers=1)
print(json.dumps(held))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers start without a copy of this process")
def test_workers_have_no_copy_of_the_memory_of_a_step(tmp_path):
    write_blobs(tmp_path / "data", count=4)
    command = [sys.executable, "-c", TRAIN_AND_MEASURE, tmp_path / "data", tmp_path]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests' / 'helpers'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    # 16 channels at 4 x 256 x 256 pixels: a map of the first level has 17 MB, and a step holds some twenty.
    assert held["training"] > 300e6
    assert len(held["workers"]) == 1  # as train.num_workers says, for crops and validation micrographs together
    assert max(held["workers"]) < 50e6
