"""Micrographs and masks are downsampled, and logits upsampled, without a shift."""

import numpy as np
import pytest
import torch
from skimage.transform import resize

from microseg.evaluation.scores import calculate_iou
from microseg.network.inputs import (
    downsample,
    downsampled_size,
    downsampling_method,
    network_input,
    upsample,
    upsample_array,
)

NOISE = np.random.default_rng(0).integers(0, 256, (65, 83), dtype=np.uint8)


def test_at_factor_1_nothing_is_done():
    assert downsample(NOISE, 1.0) is NOISE
    logits = torch.rand(1, 1, 65, 83, dtype=torch.bfloat16)
    assert upsample(logits, (65, 83)) is logits


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((768, 1024), 2, (384, 512)),
        ((512, 512), 1.5, (341, 341)),
        ((67, 83), 2, (34, 42)),
        ((3, 900), 10, (1, 90)),
    ],
)
def test_sides_are_divided_by_the_factor_and_rounded(size, factor, expected):
    assert downsampled_size(size, factor) == expected
    assert downsample(np.zeros(size, np.uint8), factor).shape == expected


def test_a_checkerboard_too_fine_to_be_resolved_becomes_grey_without_aliasing():
    board = 255 * (np.indices((16, 24)).sum(axis=0) % 2).astype(np.uint8)
    assert np.isin(downsample(board, 2), (127, 128)).all()


@pytest.mark.parametrize("factor", [1.5, 2, 4])
def test_a_gradient_stays_where_it_is(factor):
    # The center of the larger pixel i lies at factor * (i + 1/2), that of the pixel n at n + 1/2.
    gradient = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))
    small = downsample(gradient, factor)
    expected = 5 * (factor * (np.arange(small.shape[1]) + 0.5) - 0.5)
    assert np.abs(small - expected)[:, 1:-1].max() <= 0.5
    assert np.array_equal(downsample(gradient.T, factor), small.T)
    back = upsample_array(small.astype(np.float32), gradient.shape)
    inner = slice(2 * int(factor), -2 * int(factor))
    assert np.abs(back - gradient)[:, inner].max() <= 0.5


def test_pixels_that_a_mask_covers_in_part_hold_about_that_fraction():
    mask = np.zeros((8, 16), dtype=np.uint8)
    mask[:, :7] = 255  # three larger pixels and half of the fourth
    fractions = downsample(mask, 2) / 255
    # The filter reaches a quarter of a pixel beyond its own, with small weights.
    assert fractions[0] == pytest.approx([1, 1, 1, 0.5, 0, 0, 0, 0], abs=0.05)
    assert np.flatnonzero(upsample_array((fractions - 0.5).astype(np.float32), mask.shape)[0] > 0).max() in (6, 7)


@pytest.mark.parametrize("factor", [1.3, 2, 3, 4])
@pytest.mark.parametrize("radius", [6, 12, 20])
def test_disks_survive_downsampling_and_upsampling(factor, radius):
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:65, :83]
    for _ in range(10):
        row, column = random.uniform(25, 40, size=2)
        disk = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        fractions = downsample(disk * np.uint8(255), factor) / np.float32(255)
        back = upsample_array(fractions - np.float32(0.5), disk.shape) > 0
        # No point of the outline is off by more than a quarter of a larger pixel; where all were, by this:
        assert calculate_iou(disk, back) >= ((radius - factor / 4) / (radius + factor / 4)) ** 2
        theirs = resize(
            resize(disk.astype(float), fractions.shape, order=1, anti_aliasing=True), disk.shape, order=1
        )
        assert calculate_iou(disk, back) >= calculate_iou(disk, theirs > 0.5) - 0.02


def test_logits_are_interpolated_linearly_between_the_centres_of_pixels():
    assert upsample(torch.tensor([[[[0.0, 4.0]]]]), (1, 4)).tolist() == [[[[0, 1, 3, 4]]]]
    assert upsample(torch.tensor([[[[0.0], [6.0]]]]), (3, 2)).tolist() == [[[[0, 0], [3, 3], [6, 6]]]]


@pytest.mark.parametrize("size", [(65, 83), (1, 1), (64, 127), (17, 256)])
@pytest.mark.parametrize("factor", [1.1, 2, 3.7])
def test_every_size_comes_back_exactly(size, factor):
    assert upsample(torch.rand(2, 1, *downsampled_size(size, factor)), size).shape == (2, 1, *size)


def test_logits_of_any_type_are_interpolated_as_float32():
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        logits = torch.tensor([[[[1.0, -1.0]]]], dtype=dtype)
        assert upsample(logits, (1, 8)).tolist() == [[[[1, 1, 0.75, 0.25, -0.25, -0.75, -1, -1]]]]
        assert upsample(logits, (1, 8)).dtype == torch.float32


def test_grey_values_are_normalized_after_downsampling():
    normalized = network_input(NOISE, "zscore", factor=2).numpy()[0]
    small = downsample(NOISE, 2) / 255
    assert normalized == pytest.approx((small - small.mean()) / small.std(), abs=1e-4)


def test_the_method_of_downsampling_names_factor_filter_and_library():
    assert downsampling_method(2.0) != downsampling_method(2.5)
    assert all(word in downsampling_method(2.0) for word in ("2.0", "HAMMING", "Pillow 1"))
