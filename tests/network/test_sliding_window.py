"""Tiles cover a micrograph of any size, and are blended by Gaussian weights."""

import math

import pytest
import torch
from torch import nn

from microseg.network.sliding_window import Tiling, gaussian_weights, tile_starts, tiled_logits


class Recording(nn.Module):
    """Returns its input, and records its sizes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, micrographs):
        self.seen.append(tuple(micrographs.shape))
        return micrographs.clone()


def test_the_network_sees_tiles_that_overlap_by_the_fraction():
    network, micrograph = Recording(), torch.rand(1, 1, 32, 80)
    logits = tiled_logits(network, micrograph, Tiling(32, 0.25))
    # From 0, 24 and 48 to 80: a step is three quarters of a tile.
    assert network.seen == [(1, 1, 32, 32)] * 3
    assert torch.allclose(logits, micrograph, atol=1e-6)


def test_without_tiles_the_network_sees_the_whole():
    network, micrograph = Recording(), torch.rand(1, 1, 32, 80)
    assert torch.equal(tiled_logits(network, micrograph, Tiling(None, 0.25)), micrograph)
    assert network.seen == [(1, 1, 32, 80)]


@pytest.mark.parametrize(
    ("size", "side", "overlap", "starts"),
    [
        (64, 64, 0.5, [0]),
        (65, 64, 0.5, [0, 1]),
        (96, 32, 0.0, [0, 32, 64]),
        (100, 32, 0.0, [0, 32, 64, 68]),
        (80, 32, 0.25, [0, 24, 48]),
        (81, 32, 0.25, [0, 24, 48, 49]),
        (64, 32, 0.5, [0, 16, 32]),
        (20, 16, 0.99, [0, 1, 2, 3, 4]),
    ],
)
def test_tiles_start_one_step_after_the_other_and_the_last_one_ends_with_the_axis(size, side, overlap, starts):
    assert tile_starts(size, side, overlap) == starts


def test_the_weights_are_a_gaussian_of_an_eighth_of_the_side():
    weights = gaussian_weights(32, torch.device("cpu"))
    assert weights.shape == (32, 32)
    # The pixel at row 12, column 20 lies 3.5 rows above and 4.5 columns right of the center; sigma is 4.
    assert weights[12, 20].item() == pytest.approx(math.exp(-(3.5**2 + 4.5**2) / (2 * 4**2)))
    assert weights[0, 0].item() == pytest.approx(1e-3)
    assert torch.equal(weights, weights.T)
    assert torch.equal(weights, weights.flip(0))


SIZES = [(20, 20), (16, 200), (33, 47), (64, 64), (65, 63), (97, 131)]
TILINGS = [Tiling(side, overlap) for side in (16, 32, 64) for overlap in (0.0, 0.25, 0.5)]


@pytest.mark.parametrize("size", SIZES)
def test_the_weights_of_all_tiles_sum_to_one(size):
    class Constant(nn.Module):
        def forward(self, micrographs):
            return torch.full_like(micrographs, 7.25)

    for tiling in TILINGS:
        logits = tiled_logits(Constant(), torch.rand(2, 1, *size), tiling)
        assert logits.shape == (2, 1, *size)
        assert torch.allclose(logits, torch.tensor(7.25), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_of_every_tile_comes_back_to_its_place(size):
    micrograph = torch.arange(2.0 * size[0] * size[1]).reshape(2, 1, *size)
    for tiling in TILINGS:
        assert torch.allclose(tiled_logits(nn.Identity(), micrograph, tiling), micrograph, rtol=1e-5), tiling


class Numbering(nn.Module):
    """Returns the number of the call, the first being 1."""

    calls = 0

    def forward(self, tile):
        self.calls += 1
        return torch.full_like(tile, float(self.calls))


def test_overlapping_tiles_are_averaged_by_their_weights():
    logits = tiled_logits(Numbering(), torch.zeros(1, 1, 16, 24), Tiling(16, 0.5))
    weights = gaussian_weights(16, torch.device("cpu"))
    assert torch.equal(logits[..., :8], torch.ones(1, 1, 16, 8))
    assert torch.equal(logits[..., 16:], torch.full((1, 1, 16, 8), 2.0))
    # The columns 8 to 15 are the last ones of the first tile and the first ones of the second.
    first, second = weights[:, 8:], weights[:, :8]
    assert torch.allclose(logits[0, 0, :, 8:16], (first + 2 * second) / (first + second))


def test_a_micrograph_smaller_than_a_tile_is_padded_with_its_border_on_all_sides():
    class Border(nn.Module):
        def forward(self, micrographs):
            self.seen = micrographs
            return micrographs

    network = Border()
    tiled_logits(network, torch.tensor([[[[1.0, 2.0, 3.0]]]]), Tiling(16, 0.0))
    # 15 rows are missing, 7 of them above; 13 columns, 6 of them to the left.
    assert network.seen[0, 0].unique(dim=0).tolist() == [[1.0] * 7 + [2.0] + [3.0] * 8]


def test_sums_are_float32_whatever_the_network_computes_in():
    class Half(nn.Module):
        def forward(self, micrographs):
            return micrographs.bfloat16()

    micrograph = torch.full((1, 1, 20, 40), 1.0078125)  # which bf16 holds exactly
    logits = tiled_logits(Half(), micrograph, Tiling(16, 0.5))
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, micrograph, atol=1e-6)
