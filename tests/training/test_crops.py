"""Crops are cut, normalized and batched; equal draws give equal crops, in any process."""

import numpy as np
import pytest
import torch

from microseg.common.errors import InputError
from microseg.micrographs.images import read_micrograph, write_mask
from microseg.network.inputs import network_input
from microseg.training.data import (
    Draw,
    Sample,
    Sampler,
    TrainingCrops,
    WholeMicrographs,
    collate,
    data_loader,
    random_crop,
)
from microseg.training.pixel_cache import PixelCache

from tiny_training import blobs, tiny_params, write_blobs


@pytest.fixture
def files(tmp_path):
    return blobs(tmp_path, write_blobs(tmp_path, count=4, height=48, width=64))


def crops(files, crop_size=32, foreground_oversampling=0.5, input_normalization="zscore") -> TrainingCrops:
    changes = {"crop_size": crop_size, "foreground_oversampling": foreground_oversampling}
    params = tiny_params().model_copy(update=changes | {"input_normalization": input_normalization})
    return TrainingCrops(PixelCache(files, files.images.parent / "pixels"), 1, params)


def test_zscore_gives_mean_0_and_standard_deviation_1():
    micrograph = np.array([[0, 100, 200], [50, 150, 250]], dtype=np.uint8)
    normalized = network_input(micrograph, "zscore").numpy()[0]
    grey = micrograph / 255
    assert normalized == pytest.approx((grey - grey.mean()) / grey.std(), abs=1e-5)


def test_without_normalization_grey_values_are_0_to_1():
    assert network_input(np.array([[0, 51, 255]], dtype=np.uint8), "none").tolist() == [
        [[0.0, pytest.approx(0.2), 1]]
    ]


def test_a_micrograph_of_one_grey_value_is_all_zeros():
    assert network_input(np.full((4, 4), 77, dtype=np.uint8), "zscore").abs().max() < 1e-5


def test_equal_draws_give_equal_crops_and_others_others(files):
    draw = Draw(epoch=3, micrograph=1, repeat=0, weight=0.25)
    first, second = crops(files)[draw], crops(files)[draw]
    assert torch.equal(first.micrograph, second.micrograph)
    assert torch.equal(first.mask, second.mask)
    for other in (draw._replace(epoch=4), draw._replace(repeat=1), draw._replace(micrograph=2)):
        assert not torch.equal(first.micrograph, crops(files)[other].micrograph)


def test_shapes_and_types_of_a_crop(files):
    sample = crops(files)[Draw(1, 0, 0, 0.25)]
    assert (sample.micrograph.shape, sample.micrograph.dtype) == ((1, 32, 32), torch.float32)
    assert (sample.mask.shape, sample.mask.dtype) == ((1, 32, 32), torch.bool)
    assert (sample.weight, sample.name) == (0.25, "IMG_00001.png")


def test_without_crops_a_sample_is_the_whole_micrograph(files):
    assert crops(files, crop_size=None)[Draw(1, 0, 0, 1.0)].mask.shape == (1, 48, 64)


def test_the_mask_stays_on_its_micrograph(files):
    # The blobs are 70 grey values brighter than the background, with a noise of 10.
    sample = crops(files, input_normalization="none")[Draw(1, 0, 0, 1.0)]
    foreground, background = sample.micrograph[sample.mask], sample.micrograph[~sample.mask]
    assert foreground.mean() - background.mean() > 0.2


def test_crops_centered_on_the_foreground_contain_it():
    mask = np.zeros((100, 120), dtype=bool)
    mask[70, 31] = True
    grey = np.zeros(mask.shape, dtype=np.uint8)
    for seed in range(20):
        assert random_crop(grey, mask, 16, 1.0, np.random.default_rng(seed))[1][8, 8]


def test_a_crop_centered_on_the_border_stays_inside():
    mask = np.zeros((100, 120), dtype=bool)
    mask[99, 0] = True
    _, piece = random_crop(np.zeros(mask.shape, dtype=np.uint8), mask, 16, 1.0, np.random.default_rng(0))
    assert piece.shape == (16, 16)
    assert piece[15, 0]


def test_the_fraction_of_crops_centered_on_the_foreground_is_the_parameter():
    mask = np.zeros((400, 400), dtype=bool)
    mask[200, 200] = True
    grey = np.zeros(mask.shape, dtype=np.uint8)
    centered = [random_crop(grey, mask, 16, 0.25, np.random.default_rng(seed))[1][8, 8] for seed in range(400)]
    assert np.mean(centered) == pytest.approx(0.25, abs=0.07)


def test_random_crops_reach_every_corner():
    grey = np.arange(64 * 80).reshape(64, 80).astype(np.uint8)
    position = np.arange(64 * 80).reshape(64, 80)
    corners = {
        int(random_crop(position, grey > 255, 63, 0.0, np.random.default_rng(seed))[0][0, 0])  # type: ignore
        for seed in range(300)
    }
    assert corners == {row * 80 + column for row in (0, 1) for column in range(18)}


def test_a_micrograph_smaller_than_the_crop_is_padded_by_reflection():
    grey = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    piece, mask = random_crop(grey, grey > 2, 4, 0.0, np.random.default_rng(0))
    assert piece.tolist() == [[1, 2, 2, 1], [3, 4, 4, 3], [3, 4, 4, 3], [1, 2, 2, 1]]
    assert np.array_equal(mask, piece > 2)


def test_worker_processes_change_nothing(files):
    sampler = Sampler(1, 4, 2, batch_size=3, accumulate=1)
    batches = [batch for epoch in (1, 2) for step in sampler.epoch(epoch) for batch in step]
    alone, in_workers = (list(data_loader(crops(files), batches, workers, pin_memory=False)) for workers in (0, 2))
    assert len(alone) == len(in_workers) == 6
    for one, other in zip(alone, in_workers, strict=True):
        assert torch.equal(one.micrographs, other.micrographs)
        assert torch.equal(one.masks, other.masks)
        assert one.names == other.names


def test_a_mask_of_another_size_is_refused(files):
    write_mask(files.masks / "IMG_00002.png", np.zeros((10, 64), dtype=bool))
    with pytest.raises(InputError, match=r"IMG_00002\.png: the mask has 64 x 10 pixels, its micrograph 64 x 48"):
        files.read(1)


def test_different_sizes_in_a_batch_are_refused_with_the_parameters_to_change():
    samples = [
        Sample(torch.zeros(1, *size), torch.zeros(1, *size, dtype=torch.bool), 0.5, name)
        for name, size in (("a.png", (16, 16)), ("b.png", (16, 32)))
    ]
    with pytest.raises(InputError, match=r"a\.png.*b\.png.*train\.crop.*train\.batch_size"):
        collate(samples)


def test_whole_micrographs_are_not_augmented(files):
    sample = WholeMicrographs(files, "zscore")[2]
    assert torch.equal(sample.micrograph, network_input(read_micrograph(files.images / "IMG_00003.png"), "zscore"))
    assert np.array_equal(sample.mask.numpy()[0], files.read(2)[1])
