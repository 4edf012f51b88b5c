"""Batch normalization computes like that of torch, and is fused into convolutions for prediction."""

import copy

import pytest
import torch
from torch import nn

from microseg.common.errors import InputError
from microseg.network.batch_norm import SyncBatchNorm2d, fuse_conv_bn
from microseg.network.unet import UNet


def trained(**settings) -> UNet:
    """Return a network whose batch normalizations do not have their initial weights and running statistics."""
    torch.manual_seed(0)
    network = UNet(4, norm_layer="batch", **settings)
    for layer in network.modules():
        if isinstance(layer, SyncBatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(3):
            network(1 + 2 * torch.randn(2, 1, 48, 48))
    return network


def running_stats(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def test_one_follows_each_3_by_3_convolution():
    assert sum(isinstance(layer, SyncBatchNorm2d) for layer in UNet(1, norm_layer="batch").modules()) == 18
    assert not any(isinstance(layer, SyncBatchNorm2d) for layer in UNet(1).modules())


def test_it_computes_and_learns_as_that_of_torch():
    torch.manual_seed(0)
    features = torch.randn(3, 5, 4, 6) * 3 + 1
    results = []
    for layer in (SyncBatchNorm2d(5), nn.BatchNorm2d(5)):
        values = features.clone().requires_grad_()
        layer(values).pow(3).sum().backward()
        results.append([layer.running_mean, layer.running_var, layer.num_batches_tracked, values.grad])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))


def test_a_batch_of_one_is_normalized_by_its_own_pixels():
    features = torch.randn(1, 2, 8, 8) * 3 + 1
    normalized = SyncBatchNorm2d(2)(features)
    assert torch.allclose(normalized.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-6)
    assert torch.allclose(normalized.var(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4)


def test_one_crop_so_small_that_a_single_pixel_is_left_is_refused_in_training_only():
    network, crop = UNet(4, norm_layer="batch"), torch.zeros(1, 1, 16, 16)
    with pytest.raises(
        InputError, match=r"train\.batch_size: the network reduces this batch of one small crop to a"
    ):
        network(crop)
    assert network(crop.expand(2, -1, -1, -1)).shape == (2, 1, 16, 16)
    assert network.eval()(crop).shape == (1, 1, 16, 16)


def test_checkpointed_activations_give_the_same_gradients_and_count_their_batch_once():
    results = []
    for activation_checkpointing in (False, True):
        network = trained(activation_checkpointing=activation_checkpointing)
        network(torch.linspace(-1, 1, 2 * 48 * 48).reshape(2, 1, 48, 48)).square().mean().backward()
        results.append([*running_stats(network).values(), *(weight.grad for weight in network.parameters())])
        assert network.encoders[0][1].num_batches_tracked == 4
        network(torch.zeros(1, 1, 32, 32))
        assert network.encoders[0][1].num_batches_tracked == 5  # counted again after the backward pass
    assert all(torch.equal(stored, recomputed) for stored, recomputed in zip(*results, strict=True))


def test_a_fused_network_has_no_batch_normalization_and_the_same_logits():
    network = trained().eval()
    before = copy.deepcopy(network.state_dict())
    fused = fuse_conv_bn(network)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    micrographs = torch.randn(1, 1, 50, 70)
    with torch.inference_mode():
        assert torch.allclose(fused(micrographs), network(micrographs), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_fused_network_is_as_exact_in_bf16():
    network = trained().eval()
    micrographs = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        exact = network(micrographs)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(rounded(micrographs) - exact).abs().mean() for rounded in (fuse_conv_bn(network), network)]
    assert errors[0] < 1.5 * errors[1]


def test_a_network_without_batch_normalization_is_only_copied():
    network = UNet(2).eval()
    micrographs = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(fuse_conv_bn(network)(micrographs), network(micrographs))


@pytest.mark.parametrize("size", [(32, 32), (40, 52)])
def test_any_size_fits(size):
    assert UNet(1, norm_layer="batch")(torch.zeros(1, 1, *size)).shape == (1, 1, *size)
