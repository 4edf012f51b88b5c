"""Networks train in the fastest memory format, which changes nothing but the last digits."""

import pytest
import torch

from microseg.network.devices import start
from microseg.network.environment import training_memory_format
from microseg.network.networks import EncoderNetwork
from microseg.training import optimization
from microseg.training.optimization import new_network, to_memory_format

from tiny_training import SMALL_ENCODER, assert_same, tiny_params, tiny_train, write_blobs

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last


@pytest.mark.parametrize(
    ("capability", "base_channels", "precision", "device", "expected"),
    [
        ("AVX2", 32, "float32", "cpu", CONTIGUOUS),
        ("AVX2", 64, "float32", "cpu", CONTIGUOUS),
        ("AVX2", 16, "float32", "cpu", CHANNELS_LAST),
        ("AVX2", 64, "bf16", "cpu", CHANNELS_LAST),
        ("AVX512", 64, "float32", "cpu", CHANNELS_LAST),
        ("DEFAULT", 64, "float32", "cpu", CHANNELS_LAST),
        ("AVX2", 64, "float32", "cuda", CHANNELS_LAST),
    ],
)
def test_only_wide_networks_on_processors_with_avx2_are_contiguous(
    monkeypatch, capability, base_channels, precision, device, expected
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert training_memory_format(base_channels, precision, torch.device(device)) == expected


@pytest.mark.parametrize("memory_format", [CONTIGUOUS, CHANNELS_LAST])
def test_the_plain_network_gets_the_format(monkeypatch, memory_format):
    monkeypatch.setattr(optimization, "training_memory_format", lambda *_: memory_format)
    params = tiny_params(base_channels=4)
    network = to_memory_format(new_network(params, 1, {}), params, start("cpu", "float32"))
    kernels = [weights for weights in network.parameters() if weights.ndim == 4 and min(weights.shape[:2]) > 1]
    assert kernels
    assert all(weights.is_contiguous(memory_format=memory_format) for weights in kernels)


def test_networks_with_an_encoder_stay_channels_last(monkeypatch):
    monkeypatch.setattr(optimization, "training_memory_format", lambda *_: CONTIGUOUS)
    params = tiny_params(encoder=SMALL_ENCODER, norm_layer="batch", crop_size=64)
    network = to_memory_format(new_network(params, 1, {}), params, start("cpu", "float32"))
    assert isinstance(network, EncoderNetwork)
    kernels = [weights for weights in network.parameters() if weights.ndim == 4 and weights.shape[1] > 1]
    assert all(weights.is_contiguous(memory_format=CHANNELS_LAST) for weights in kernels)


def test_the_format_changes_only_rounding(monkeypatch, tmp_path):
    write_blobs(tmp_path / "data")
    weights = []
    for memory_format in (CONTIGUOUS, CHANNELS_LAST):
        monkeypatch.setattr(optimization, "training_memory_format", lambda *_, own=memory_format: own)
        state = tiny_train(tmp_path / "data", tmp_path / str(memory_format), norm_layer="batch", epochs=1)
        weights.append(state.weights)
    one, other = weights
    assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-4) for name in one)


def test_a_contiguous_network_resumes_bit_for_bit(monkeypatch, tmp_path):
    monkeypatch.setattr(optimization, "training_memory_format", lambda *_: CONTIGUOUS)
    write_blobs(tmp_path / "data")
    at_once = tiny_train(tmp_path / "data", tmp_path / "at_once", epochs=3)
    tiny_train(tmp_path / "data", tmp_path / "in_two", epochs=1)
    in_two = tiny_train(tmp_path / "data", tmp_path / "in_two", epochs=3)
    assert_same(at_once, in_two)
