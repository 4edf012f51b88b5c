"""A training on downsampled micrographs: its crops, its validation, and that nothing else changes."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from microseg.evaluation.scores import calculate_iou
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.network.devices import start
from microseg.network.inputs import MaskedMicrographs, downsample, network_input
from microseg.network.losses import LOSSES
from microseg.network.sliding_window import WHOLE, Tiling
from microseg.network.unet import UNet
from microseg.prediction.inference import predict
from microseg.training import fingerprint as fingerprint_module
from microseg.training.data import Draw, Sample, TrainingCrops, WholeMicrographs, data_loader
from microseg.training.export import calibrate
from microseg.training.fingerprint import fingerprint
from microseg.training.loop import validate
from microseg.training.pixel_cache import LIMIT_VARIABLE, PixelCache

from tiny_training import NO_AUGMENTATION, assert_same, blobs, tiny_params, tiny_train, write_blobs


@pytest.fixture
def files(tmp_path):
    return blobs(tmp_path, write_blobs(tmp_path, count=4, height=65, width=83))


def crops(files, factor, crop_size=16, foreground_oversampling=0.5, input_normalization="none") -> TrainingCrops:
    augmentation = tiny_params(augment=NO_AUGMENTATION).augment
    store = PixelCache(files, files.images.parent / "pixels", factor)
    changes = {"crop_size": crop_size, "foreground_oversampling": foreground_oversampling}
    changes |= {"input_normalization": input_normalization, "augment": augmentation}
    return TrainingCrops(store, 1, tiny_params().model_copy(update=changes))


def gradient(folder) -> MaskedMicrographs:
    """Write a micrograph whose grey value is twice its column, with foreground from column 40 on."""
    columns = np.tile(np.arange(100, dtype=np.uint8), (80, 1))
    for name in ("images", "masks"):
        (folder / name).mkdir()
    write_micrograph(folder / "images" / "a.png", 2 * columns)
    write_mask(folder / "masks" / "a.png", columns >= 40)
    return MaskedMicrographs(folder / "images", folder / "masks", ("a.png",))


@pytest.mark.parametrize("factor", [1.0, 2.0, 2.5])
def test_a_crop_shows_factor_times_the_side(tmp_path, factor):
    data = crops(gradient(tmp_path), factor)
    for repeat in range(10):
        shown = 255 / 2 * data[Draw(1, 0, repeat, 1.0)].micrograph[0, :, 1:-1]
        assert shown.shape == (16, 14)
        # Without the outermost columns, which the border may affect.
        assert (shown[:, -1] - shown[:, 0]).numpy() == pytest.approx(13 * factor, abs=0.6)


def jittered_crops(folder, jitter) -> list[Sample]:
    data = crops(gradient(folder), 1.0, crop_size=24, foreground_oversampling=0.0)
    augment = data.params.augment.model_copy(update={"scale_jitter": jitter})
    data.params = data.params.model_copy(update={"augment": augment})
    return [data[Draw(1, 0, repeat, 1.0)] for repeat in range(60)]


def test_scale_jitter_enlarges_or_shrinks_crops_within_the_limit(tmp_path):
    samples = jittered_crops(tmp_path, 0.5)
    # Grey values rise by 2 a column, so by twice the factor in a column of the crop.
    factors = [((s.micrograph[0, 0, -5] - s.micrograph[0, 0, 4]) * 255 / 2 / 15).item() for s in samples]
    assert 16 / 24 - 0.05 <= min(factors) < 0.75
    assert 1.4 < max(factors) <= 1.5 + 0.05
    assert np.mean(np.log(factors)) == pytest.approx(0, abs=0.1)
    for sample in samples:
        assert sample.micrograph.shape == sample.mask.shape == (1, 24, 24)
        assert sample.mask.dtype == torch.float32
        # The foreground begins at column 40, whose grey value is 80.
        inside, outside = sample.mask > 0.9, sample.mask < 0.1
        assert (sample.micrograph[inside] * 255 > 77).all()
        assert (sample.micrograph[outside] * 255 < 82).all()


def test_scale_jitter_is_for_crops_only():
    with pytest.raises(
        ValueError, match=r"augment\.scale_jitter has no .* whole micrographs; set crop_size to a number"
    ):
        tiny_params(crop_size=None, augment=NO_AUGMENTATION | {"scale_jitter": 0.1})


@pytest.mark.parametrize("crop_size", [16, 48, None])
def test_masks_are_fractions_that_lie_on_their_micrograph(files, crop_size):
    # The blobs are 70 grey values brighter than the background.
    sample = crops(files, 2.0, crop_size)[Draw(1, 0, 0, 1.0)]
    assert sample.mask.dtype == torch.float32
    assert (
        sample.mask.shape == sample.micrograph.shape == (1, *((crop_size, crop_size) if crop_size else (32, 42)))
    )
    assert set(sample.mask.unique().tolist()) - {0.0, 1.0}
    assert sample.micrograph[sample.mask > 0.9].mean() - sample.micrograph[sample.mask < 0.1].mean() > 0.2


def test_the_fraction_of_foreground_is_that_of_the_mask(files):
    for index in range(4):
        fraction = crops(files, 2.0, None)[Draw(1, index, 0, 1.0)].mask.mean().item()
        assert fraction == pytest.approx(files.read(index)[1].mean(), rel=0.03)


def test_an_island_narrower_than_a_pixel_of_the_network_is_found_and_not_lost(tmp_path):
    data = gradient(tmp_path)
    mask = np.zeros((80, 100), dtype=bool)
    mask[50, 61] = True
    write_mask(data.masks / "a.png", mask)
    sample = crops(data, 4.0, foreground_oversampling=1.0)[Draw(1, 0, 0, 1.0)]
    # One of 16 pixels, of which the filter weights those in the middle more.
    assert 0.5 / 16 < sample.mask.sum() < 2 / 16


def test_crops_are_the_same_in_every_bit_with_and_without_copies(files, tmp_path, monkeypatch):
    stores = [PixelCache(files, tmp_path / "pixels", 2.0), PixelCache(files, tmp_path / "pixels", 2.0)]
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    stores.append(PixelCache(files, tmp_path / "none", 2.0))
    params = tiny_params(crop_size=16, foreground_oversampling=0.5, input_normalization="zscore")
    for draw in (Draw(epoch, index, 0, 1.0) for epoch in (1, 2) for index in range(4)):
        first, *others = (TrainingCrops(store, 1, params)[draw] for store in stores)
        for other in others:
            assert torch.equal(first.micrograph, other.micrograph)
            assert torch.equal(first.mask, other.mask)


def test_micrographs_are_downsampled_once_and_copies_with_other_factors_are_other_files(
    files, tmp_path, monkeypatch
):
    count = []
    monkeypatch.setattr(
        "microseg.training.pixel_cache.downsample", lambda *given: count.append(given) or downsample(*given)
    )
    for factor in (1.0, 2.0, 2.0, 3.0):
        store = PixelCache(files, tmp_path / "pixels", factor)
        for _ in range(3):
            pixels = store[0]
    assert len(count) == 2 * 2  # micrograph and mask, once at 2 and once at 3
    assert len(list((tmp_path / "pixels").iterdir())) == 3
    small = downsample(files.read(0)[0], 3.0)
    assert np.array_equal(pixels.micrograph, small)
    assert pixels.statistics.mean == pytest.approx(small.mean() / 255)


def test_copies_of_downsampled_micrographs_take_less_of_the_limit(files, tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, str(2 * 65 * 83 * 2.1 / 1e9))  # two whole micrographs with their masks
    for factor, copied in ((1.0, 2), (1.5, 4)):
        store = PixelCache(files, tmp_path / str(factor), factor)
        for index in range(4):
            store[index]
        assert len(list((tmp_path / str(factor)).iterdir())) == copied


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("factor", [2.0, 1.7])
def test_a_validation_measures_masks_of_the_micrographs_own_size(files, tile, factor):
    torch.manual_seed(3)
    network = UNet(2)
    batches = data_loader(
        WholeMicrographs(files, "none", factor), [[0], [1], [2], [3]], workers=0, pin_memory=False
    )
    measured = validate(start("cpu", "float32"), network, batches, LOSSES["bce"], 4, Tiling(tile, 0.25))
    iou, loss = [], []
    for index in range(4):
        micrograph, mask = files.read(index)
        values = own_size_logits(network, micrograph, factor, tile)
        iou.append(calculate_iou(mask, values > 0))
        loss.append(np.mean(np.logaddexp(0, np.where(mask, -values, values))))
    assert measured.iou == pytest.approx(np.mean(iou), abs=1e-3)
    assert measured.loss == pytest.approx(np.mean(loss), rel=1e-4)


def own_size_logits(network, micrograph, factor, tile_size=None, input_normalization="none"):
    """Return the logits, (height, width), upsampled by Pillow."""
    small = network_input(downsample(micrograph, factor), input_normalization)[None]
    logits = predict(network.eval(), small, Tiling(tile_size, 0.25))[0, 0].numpy()
    height, width = micrograph.shape
    return np.asarray(Image.fromarray(logits).resize((width, height), Image.Resampling.BILINEAR), np.float64)


def test_a_network_at_factor_2_learns_and_is_calibrated_at_the_own_size(tmp_path):
    write_blobs(tmp_path, count=8, height=97, width=131)
    changes = {"downsample": 2.0, "base_channels": 4, "lr": 0.01, "norm_layer": "batch", "crops_per_micrograph": 4}
    changes |= {"epochs": 8, "validate_every": 4, "augment": NO_AUGMENTATION}
    state = tiny_train(tmp_path, tmp_path / "checkpoints", **changes)
    weights, _, measured = state.model("best")
    assert measured.iou > 0.7
    validation = blobs(tmp_path, ["IMG_00007.png", "IMG_00008.png"])
    params = tiny_params(**changes)
    temperature, best, _ = calibrate(start("cpu", "float32"), weights, validation, params, WHOLE)
    network = UNet(4, norm_layer="batch")
    network.load_state_dict(weights)
    pairs = [
        (own_size_logits(network, micrograph, 2.0, input_normalization="zscore"), mask)
        for micrograph, mask in map(validation.read, range(2))
    ]

    def mean_iou(cut):
        return np.mean([calculate_iou(mask, values > cut) for values, mask in pairs])

    def loss(divisor):
        return np.mean(
            [np.logaddexp(0, np.where(mask, -1, 1) * values / divisor).mean() for values, mask in pairs]
        )

    assert mean_iou(0) == pytest.approx(measured.iou, abs=1e-3)
    assert mean_iou(best) >= max(mean_iou(cut) for cut in np.arange(-2, 2, 0.25)) - 0.01
    assert loss(temperature) <= min(loss(temperature * 1.1), loss(temperature / 1.1))


def test_at_factor_1_resampling_changes_no_bit_of_a_training(tmp_path, monkeypatch):
    write_blobs(tmp_path, count=6)
    with_it = tiny_train(tmp_path, tmp_path / "with")
    modules = [module for name, module in sys.modules.items() if name.startswith("microseg.")]
    for name, function in {"downsample": lambda image, _: image, "upsample": lambda logits, _: logits}.items():
        for module in modules:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)
    assert_same(with_it, tiny_train(tmp_path, tmp_path / "without"))


def test_a_training_at_factor_2_is_resumed_and_extended_bit_for_bit(tmp_path):
    write_blobs(tmp_path, count=6)
    settings = {"downsample": 2.0, "norm_layer": "batch", "checkpoint_epochs": [2]}
    whole = tiny_train(tmp_path, tmp_path / "whole", epochs=4, **settings)
    tiny_train(tmp_path, tmp_path / "parts", epochs=2, **settings)
    assert_same(tiny_train(tmp_path, tmp_path / "parts", epochs=4, **settings), whole)


def test_the_version_of_the_library_counts_only_with_downsampling(files, monkeypatch):
    def names():
        return [fingerprint(files, files, tiny_params(downsample=factor), 1, "cpu") for factor in (1.0, 2.0, 2.5)]

    before = names()
    assert len(set(before)) == 3
    monkeypatch.setattr(fingerprint_module, "downsampling_method", lambda factor: f"factor {factor}, Pillow 0.0")
    after = names()
    assert after[0] == before[0]
    assert after[1] != before[1]
