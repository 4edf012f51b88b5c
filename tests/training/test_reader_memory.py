"""The processes that read ahead hold next to nothing of what the training holds."""

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
validated = TrainingLoop._with_validation

def anonymous_bytes(process):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

def measure(loop, *arguments):
    record = validated(loop, *arguments)
    held["training"] = anonymous_bytes(psutil.Process()) - before
    held["readers"] = [anonymous_bytes(reader) - before for reader in psutil.Process().children()]
    return record

tiny_train(data, checkpoints, epochs=1)
before = anonymous_bytes(psutil.Process())
TrainingLoop._with_validation = measure
tiny_train(data, checkpoints, base_channels=16, crop=256, crops_per_micrograph=2, workers=1)
print(json.dumps(held))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere reading processes begin with nothing")
def test_readers_have_no_copy_of_what_a_step_holds(tmp_path):
    write_blobs(tmp_path / "data", count=4)
    command = [sys.executable, "-c", TRAIN_AND_MEASURE, tmp_path / "data", tmp_path]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests' / 'helpers'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    # 16 channels at 4 x 256 x 256 pixels: a map of the first level has 17 MB, and a step holds some twenty.
    assert held["training"] > 300e6
    assert len(held["readers"]) == 2  # of crops, and of the validation micrographs
    assert max(held["readers"]) < 50e6
