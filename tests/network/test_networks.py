"""Networks of segmentation_models_pytorch map micrographs of any size to logits of that size."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from microseg.common.errors import InputError
from microseg.network.batch_norm import SyncBatchNorm2d, fuse_conv_bn
from microseg.network.model_card import IMAGENET, Pretraining
from microseg.network.networks import EncoderNetwork, build_network, check_batch_size
from microseg.network.unet import UNet
from microseg.training.optimization import new_network

from tiny_training import SMALL_ENCODER, tiny_params


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("unet", "timm-tf_efficientnet_lite0"),
        ("unetplusplus", "mobilenet_v2"),
        ("fpn", SMALL_ENCODER),
        ("pan", SMALL_ENCODER),
        ("segformer", "mit_b0"),
    ],
)
def test_any_network_maps_any_size_to_logits_of_that_size(architecture, encoder):
    network = EncoderNetwork(architecture, encoder).eval()
    with torch.inference_mode():
        for size in [(1, 1), (37, 70)]:
            logits = network(torch.randn(1, 1, *size))
            assert logits.shape == (1, 1, *size)
            assert logits.isfinite().all()


def test_the_logits_are_those_of_the_padded_micrograph_without_its_margins():
    network = EncoderNetwork("unet", SMALL_ENCODER).eval()
    micrograph = torch.randn(1, 1, 33, 60)
    # 31 rows and 4 columns are missing: 15 above and 16 below, 2 on each side.
    padded = functional.pad(micrograph, (2, 2, 15, 16), mode="replicate")
    with torch.inference_mode():
        expected = network.model(padded.repeat(1, 3, 1, 1))[..., 15:48, 2:62]
        torch.testing.assert_close(network(micrograph), expected)


def test_three_equal_channels_are_one_whose_weights_are_the_sum():
    network = EncoderNetwork("unet", SMALL_ENCODER).eval()
    stem = network.encoder.model.conv_stem
    one = nn.Conv2d(1, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, bias=False)
    one.weight = nn.Parameter(stem.weight.sum(dim=1, keepdim=True))
    micrograph = torch.randn(1, 1, 32, 64)
    with torch.inference_mode():
        expected = network(micrograph)
        network.encoder.model.conv_stem = nn.Sequential(FirstChannel(), one)
        torch.testing.assert_close(network(micrograph), expected)


class FirstChannel(nn.Module):
    """Returns the first of three equal channels."""

    def forward(self, channels):
        assert torch.equal(channels[:, 0], channels[:, 2])
        return channels[:, :1]


@pytest.mark.parametrize("pretraining", [IMAGENET, Pretraining((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
def test_with_imagenet_each_channel_is_normalized_as_in_the_pre_training(pretraining):
    network = EncoderNetwork("unet", SMALL_ENCODER, pretraining, imagenet_grey=True).eval()
    micrograph = torch.rand(1, 1, 32, 32)
    channels = [(micrograph - mean) / std for mean, std in zip(pretraining.mean, pretraining.std, strict=True)]
    with torch.inference_mode():
        torch.testing.assert_close(network(micrograph), network.model(torch.cat(channels, dim=1)))


@pytest.mark.parametrize("encoder", ["resnet18", "densenet121", "timm-tf_efficientnet_lite0"])
def test_fusing_keeps_the_logits(encoder):
    network = EncoderNetwork("unet", encoder)
    network(torch.randn(2, 1, 64, 64))
    network.eval()
    fused = fuse_conv_bn(network)
    micrograph = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(fused(micrograph), network(micrograph), rtol=1e-3, atol=1e-3)
    layers = [sum(isinstance(layer, SyncBatchNorm2d) for layer in one.modules()) for one in (fused, network)]
    assert layers[0] < layers[1]


def test_replaced_batch_normalizations_compute_the_same():
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv3_small_050", features_only=True)
    network = EncoderNetwork("unet", SMALL_ENCODER)
    network.encoder.model.load_state_dict(theirs.state_dict())
    channels = torch.randn(2, 3, 64, 64)
    for ours, other in zip(network.encoder.model(channels), theirs(channels), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-4)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(network.encoder.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_parameters_choose_the_network():
    assert isinstance(build_network(tiny_params()), UNet)
    network = build_network(tiny_params(architecture="linknet", encoder=SMALL_ENCODER, crop_size=64))
    assert type(network.model).__name__ == "Linknet"


@pytest.mark.parametrize(
    ("architecture", "encoder", "message"),
    [
        ("unett", "resnet18", r"train\.architecture: no architecture is called unett; did you mean unet.*fpn"),
        ("unet", "resnet43", r"train\.encoder: no encoder is called resnet43; did you mean resnet34"),
        ("unet", "tu-mobilenetv3_smal_050", r"did you mean tu-mobilenetv3_small_050"),
        ("unetplusplus", "mit_b0", r"unetplusplus cannot be built on the encoder mit_b0: "),
    ],
)
def test_unknown_names_and_impossible_combinations_are_refused(architecture, encoder, message):
    with pytest.raises(InputError, match=message):
        EncoderNetwork(architecture, encoder)


def test_a_network_that_cannot_train_on_single_crops_is_refused_before_the_training():
    network = EncoderNetwork("deeplabv3", SMALL_ENCODER)
    check_batch_size(network, batch_size=2)
    with pytest.raises(InputError, match=r"deeplabv3 on .* cannot train on batches of 1 .*train\.batch_size to 2"):
        check_batch_size(network, batch_size=1)
    with pytest.raises(InputError, match=r"train\.batch_size to 2"):
        new_network(
            tiny_params(architecture="deeplabv3", encoder=SMALL_ENCODER, crop_size=64, batch_size=1), 1, {}
        )


def test_trying_a_batch_size_changes_nothing():
    network = EncoderNetwork("linknet", SMALL_ENCODER).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_batch_size(network, batch_size=1)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
