"""Networks by name: the plain U-Net, or one of segmentation_models_pytorch around an encoder of its."""

import warnings
from collections.abc import Iterable
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from microseg.common.errors import InputError, nearest
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.batch_norm import convert_sync_batch_norm
from microseg.network.model_card import ModelCard
from microseg.network.unet import UNet, crop_padding, pad_to_multiple

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of the red, green and blue values, 0 to 1, of the pictures that encoders are pre-trained on."""

COARSEST, COARSER = 32, {"pan": 128}
"""Encoders halve height and width five times, and the decoder of PAN then twice or three times more.

Where a decoder uses fewer of the levels, 32 fits as well.
"""

ANY_SIZE = {"dpt": {"dynamic_img_size": True}}
"""What has to be asked for where micrographs are not of the one size an architecture is made for."""

TENSORFLOW_ENCODERS = "timm-tf_efficientnet_lite"
TENSORFLOW_EPSILON = 1e-3


class EncoderNetwork(nn.Module):
    """A network of segmentation_models_pytorch: one of its architectures around one of its encoders.

    Maps micrographs, (batch, 1, height, width) of grey values, to logits of the same shape, for any height and
    width. The encoder sees the grey values as red, green and blue, which is the same as one channel whose weights
    are the sum of the three. All weights are random: none are ever downloaded.

    Args:
        architecture: one of segmentation_models_pytorch's, in small letters.
        encoder: one of segmentation_models_pytorch's.
        imagenet_grey: whether each channel of grey values, 0 to 1, is shifted and scaled as that of ImageNet's
            pictures was. Otherwise they are taken as they come.

    Raises:
        InputError: there are no such names, or the two do not fit together.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, architecture: str, encoder: str, imagenet_grey: bool = False) -> None:
        super().__init__()
        check_names(architecture, encoder)
        import segmentation_models_pytorch as smp  # seconds to import, for such networks only

        self.name = f"{architecture} on {encoder}"
        try:
            with warnings.catch_warnings():
                # Names with "timm-" are marked as outdated, but are those of published weights.
                warnings.simplefilter("ignore", DeprecationWarning)
                self.model = smp.create_model(
                    architecture,
                    encoder,
                    encoder_weights=None,
                    in_channels=3,
                    classes=1,
                    **ANY_SIZE.get(architecture, {}),
                )
        except (ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
            raise InputError(
                f"train.architecture: {architecture} cannot be built on the encoder {encoder}: {error}"
            ) from error
        if encoder.startswith(TENSORFLOW_ENCODERS):
            compute_as_tensorflow(self.encoder)
        convert_sync_batch_norm(self.model)
        self.multiple = COARSER.get(architecture, COARSEST)
        self.encoder_is_frozen = False
        mean, deviation = (IMAGENET_MEAN, IMAGENET_DEVIATION) if imagenet_grey else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)
        self.to(memory_format=torch.channels_last)

    @property
    def encoder(self) -> nn.Module:
        """The part that may be pre-trained."""
        return cast(nn.Module, self.model.encoder)

    def freeze_encoder(self) -> None:
        """Keep the weights of the encoder, and the averages of its batch normalisations, as they are."""
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set all layers to training or to prediction, but those of a frozen encoder always to prediction."""
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self

    def forward(self, micrographs: Tensor) -> Tensor:
        """Return the logits, (batch, 1, height, width): positive where the network sees foreground."""
        padded = pad_to_multiple(micrographs, self.multiple)
        # The plain values are left alone to the bit: x - 0 and x / 1 are x.
        channels = (padded - self.mean) / self.deviation
        channels = channels.contiguous(memory_format=torch.channels_last)
        return crop_padding(cast(Tensor, self.model(channels)), micrographs, self.multiple)


Network = UNet | EncoderNetwork


def compute_as_tensorflow(encoder: nn.Module) -> None:
    """Give an EfficientNet the borders and the epsilon that it was trained with in TensorFlow.

    segmentation_models_pytorch builds these encoders with those of PyTorch: convolutions that halve height and
    width look half a step to the other side, and variances below 0.001 count for more than they did.
    """
    from timm.layers import Conv2dSame

    for name, layer in list(encoder.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = TENSORFLOW_EPSILON
        if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1):
            same = Conv2dSame(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                groups=layer.groups,
                bias=layer.bias is not None,
            )
            same.weight, same.bias = layer.weight, layer.bias
            encoder.set_submodule(name, same)


def build_network(described: TrainParams | ModelCard, activation_checkpointing: bool = False) -> Network:
    """Return the network that parameters or a model card describe, with random weights; nothing is downloaded.

    Raises:
        InputError: no network has this name, or it cannot do what the parameters ask for.
    """
    if described.encoder == PLAIN_ENCODER:
        return UNet(described.base_channels, activation_checkpointing, described.norm_layer)
    return EncoderNetwork(described.architecture, described.encoder, described.input_normalization == "imagenet")


def check_names(architecture: str, encoder: str) -> None:
    """Raise an InputError where segmentation_models_pytorch has no such architecture or encoder."""
    import segmentation_models_pytorch as smp
    import timm

    _check("architecture", architecture, smp.MODEL_ARCHITECTURES_MAPPING)
    if encoder.startswith("tu-"):
        # Behind a point timm names weights, which have no part in what the network is.
        _check("encoder", encoder.partition(".")[0], [f"tu-{name}" for name in timm.list_models()])
    else:
        _check("encoder", encoder, [PLAIN_ENCODER, *smp.encoders.get_encoder_names()])


def _check(key: Literal["architecture", "encoder"], name: str, names: Iterable[str]) -> None:
    known = sorted(names)
    if name not in known:
        every = f"; there are {', '.join(known)}" if key == "architecture" else ""
        raise InputError(f"train.{key}: no {key} is called {name}; did you mean {nearest(name, known)}{every}?")
