"""Tiles are predicted one at a time, and what they need is imported only where they are asked for."""

import subprocess
import sys

import torch
from torch import nn

from microseg.network.sliding_window import Tiling, tiled_logits

from tiny_training import ROOT


class Recording(nn.Module):
    """Answers with what it is shown, and remembers the sizes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, micrographs):
        self.seen.append(tuple(micrographs.shape))
        return micrographs.clone()


def test_the_network_sees_tiles_that_overlap_by_the_share():
    network, micrograph = Recording(), torch.rand(1, 1, 32, 80)
    logits = tiled_logits(network, micrograph, Tiling(32, 0.25))
    # From 0, 24 and 48 to 80: a step is three quarters of a tile.
    assert network.seen == [(1, 1, 32, 32)] * 3
    assert torch.allclose(logits, micrograph, atol=1e-6)


def test_without_tiles_the_network_sees_the_whole():
    network, micrograph = Recording(), torch.rand(1, 1, 32, 80)
    assert torch.equal(tiled_logits(network, micrograph, Tiling(None, 0.25)), micrograph)
    assert network.seen == [(1, 1, 32, 80)]


def test_the_library_for_tiles_is_not_imported_without_them():
    program = (
        "import sys, torch, microseg.prediction.inference, microseg.training.train\n"
        "from microseg.network.sliding_window import WHOLE, tiled_logits\n"
        "tiled_logits(torch.nn.Identity(), torch.zeros(1, 1, 32, 32), WHOLE)\n"
        "sys.exit('monai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT / "src")}, check=False)
    assert done.returncode == 0
