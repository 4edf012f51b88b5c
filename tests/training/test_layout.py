"""Networks are trained in the order in memory that is fastest, which changes nothing but the last digits."""

import pytest
import torch

from microseg.network.devices import start
from microseg.network.environment import training_layout
from microseg.network.networks import EncoderNetwork
from microseg.training import optimization
from microseg.training.optimization import new_network, to_memory_format

from tiny_training import SMALL_ENCODER, assert_same, tiny_params, tiny_train, write_blobs

PIXELS_TOGETHER, CHANNELS_TOGETHER = torch.contiguous_format, torch.channels_last


@pytest.mark.parametrize(
    ("capability", "base_channels", "numbers", "device", "expected"),
    [
        ("AVX2", 32, "float32", "cpu", PIXELS_TOGETHER),
        ("AVX2", 64, "float32", "cpu", PIXELS_TOGETHER),
        ("AVX2", 16, "float32", "cpu", CHANNELS_TOGETHER),
        ("AVX2", 64, "bf16", "cpu", CHANNELS_TOGETHER),
        ("AVX512", 64, "float32", "cpu", CHANNELS_TOGETHER),
        ("DEFAULT", 64, "float32", "cpu", CHANNELS_TOGETHER),
        ("AVX2", 64, "float32", "cuda", CHANNELS_TOGETHER),
    ],
)
def test_only_wide_networks_on_processors_with_avx2_are_laid_out_otherwise(
    monkeypatch, capability, base_channels, numbers, device, expected
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert training_layout(base_channels, numbers, torch.device(device)) == expected


@pytest.mark.parametrize("layout", [PIXELS_TOGETHER, CHANNELS_TOGETHER])
def test_our_own_network_gets_the_layout(monkeypatch, layout):
    monkeypatch.setattr(optimization, "training_layout", lambda *_: layout)
    params = tiny_params(base_channels=4)
    network = to_memory_format(new_network(params, 1, {}), params, start("cpu", "float32"))
    kernels = [weights for weights in network.parameters() if weights.ndim == 4 and min(weights.shape[:2]) > 1]
    assert kernels
    assert all(weights.is_contiguous(memory_format=layout) for weights in kernels)


def test_networks_with_an_encoder_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(optimization, "training_layout", lambda *_: PIXELS_TOGETHER)
    params = tiny_params(encoder=SMALL_ENCODER, norm_layer="batch", crop_size=64)
    network = to_memory_format(new_network(params, 1, {}), params, start("cpu", "float32"))
    assert isinstance(network, EncoderNetwork)
    kernels = [weights for weights in network.parameters() if weights.ndim == 4 and weights.shape[1] > 1]
    assert all(weights.is_contiguous(memory_format=CHANNELS_TOGETHER) for weights in kernels)


def test_the_layout_changes_rounding_alone(monkeypatch, tmp_path):
    write_blobs(tmp_path / "data")
    weights = []
    for layout in (PIXELS_TOGETHER, CHANNELS_TOGETHER):
        monkeypatch.setattr(optimization, "training_layout", lambda *_, layout=layout: layout)
        state = tiny_train(tmp_path / "data", tmp_path / str(layout), norm_layer="batch", epochs=1)
        weights.append(state.weights)
    one, other = weights
    assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-4) for name in one)


def test_a_training_goes_on_bit_for_bit_with_pixels_together(monkeypatch, tmp_path):
    monkeypatch.setattr(optimization, "training_layout", lambda *_: PIXELS_TOGETHER)
    write_blobs(tmp_path / "data")
    at_once = tiny_train(tmp_path / "data", tmp_path / "at_once", epochs=3)
    tiny_train(tmp_path / "data", tmp_path / "in_two", epochs=1)
    in_two = tiny_train(tmp_path / "data", tmp_path / "in_two", epochs=3)
    assert_same(at_once, in_two)
