"""Networks by name: the plain U-Net, or an architecture and an encoder of segmentation_models_pytorch."""

import copy
import warnings
from collections.abc import Iterable
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from microseg.common.errors import InputError, nearest
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.batch_norm import convert_sync_batch_norm
from microseg.network.model_card import IMAGENET, ModelCard, Pretraining
from microseg.network.unet import UNet, crop_padding, pad_to_multiple

ENCODER_SIZE_MULTIPLE, SIZE_MULTIPLES = 32, {"pan": 128}
"""Of height and width: encoders halve them five times, and the decoder of PAN two or three times more."""

ANY_SIZE = {"dpt": {"dynamic_img_size": True}}
"""Arguments by which an architecture takes inputs of any size."""

TRIAL_SIZE = (128, 160)
"""Height and width of the crops by which `check_batch_size` tries a network."""

TENSORFLOW_EPSILON = 1e-3


class EncoderNetwork(nn.Module):
    """A network of segmentation_models_pytorch: one of its architectures with one of its encoders.

    Maps micrographs, (batch, 1, height, width) of grey values, to logits of the same shape, for any height and
    width. The encoder gets the grey values as red, green and blue; with `imagenet_grey` each of the three, 0 to 1,
    is normalized by its mean and standard deviation in the `pretraining`. All weights are random: none are ever
    downloaded.

    Raises:
        InputError: a name is unknown, or the two cannot be combined.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        encoder: str,
        pretraining: Pretraining = IMAGENET,
        *,
        imagenet_grey: bool = False,
    ) -> None:
        super().__init__()
        check_names(architecture, encoder)
        import segmentation_models_pytorch as smp  # seconds to import, for such networks only

        self.name = f"{architecture} on {encoder}"
        try:
            with warnings.catch_warnings():
                # Names with "timm-" are deprecated, but published weights have them.
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
        if pretraining.tensorflow:
            match_tensorflow(self.encoder)
        convert_sync_batch_norm(self.model)
        self.size_multiple = SIZE_MULTIPLES.get(architecture, ENCODER_SIZE_MULTIPLE)
        self.encoder_is_frozen = False
        mean, std = (pretraining.mean, pretraining.std) if imagenet_grey else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.to(memory_format=torch.channels_last)

    @property
    def encoder(self) -> nn.Module:
        """The encoder, which may be pre-trained."""
        return cast(nn.Module, self.model.encoder)

    def freeze_encoder(self) -> None:
        """Freeze the weights of the encoder and the running statistics of its batch normalizations."""
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set all layers to training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self

    def forward(self, micrographs: Tensor) -> Tensor:
        """Return the logits, (batch, 1, height, width): positive where the network sees foreground."""
        padded = pad_to_multiple(micrographs, self.size_multiple)
        # Without imagenet_grey no bit changes: x - 0 and x / 1 are x.
        channels = (padded - self.mean) / self.std
        channels = channels.contiguous(memory_format=torch.channels_last)
        return crop_padding(cast(Tensor, self.model(channels)), micrographs, self.size_multiple)


Network = UNet | EncoderNetwork


def match_tensorflow(encoder: nn.Module) -> None:
    """Give an EfficientNet the padding and the epsilon with which it was trained in TensorFlow.

    segmentation_models_pytorch builds these encoders with those of PyTorch: convolutions that halve height and
    width then start on the other side, and the smaller epsilon amplifies channels with variances below 0.001.
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


def build_network(
    config: TrainParams | ModelCard,
    pretraining: Pretraining = IMAGENET,
    *,
    activation_checkpointing: bool = False,
) -> Network:
    """Return the network of parameters or a model card, with random weights; nothing is downloaded.

    `pretraining` is that of an encoder other than plain.

    Raises:
        InputError: architecture or encoder is unknown, or the two cannot be combined.
    """
    if config.encoder == PLAIN_ENCODER:
        return UNet(config.base_channels, activation_checkpointing, config.norm_layer)
    imagenet_grey = config.input_normalization == "imagenet"
    return EncoderNetwork(config.architecture, config.encoder, pretraining, imagenet_grey=imagenet_grey)


def check_batch_size(network: EncoderNetwork, batch_size: int) -> None:
    """Raise InputError if the network cannot be trained on batches of this size, or on crops of any size.

    Some networks have batch normalizations of pooled features: one value a crop, which has no variance alone. A
    copy without values, which computes shapes alone, is tried.
    """
    trial = copy.deepcopy(network).to("meta").train()
    try:
        trial(torch.zeros(batch_size, 1, *TRIAL_SIZE, device="meta"))
    except (InputError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"train.architecture, train.encoder: {network.name} cannot train on batches of {batch_size} crops "
            f"of any size ({error}); raise train.batch_size to 2 or more, or choose another network"
        ) from error


def check_names(architecture: str, encoder: str) -> None:
    """Raise an InputError if segmentation_models_pytorch has no such architecture or encoder."""
    import segmentation_models_pytorch as smp
    import timm

    _check("architecture", architecture, smp.MODEL_ARCHITECTURES_MAPPING)
    if encoder.startswith("tu-"):
        # After a point timm names weights, which the network does not depend on.
        _check("encoder", encoder.partition(".")[0], [f"tu-{name}" for name in timm.list_models()])
    else:
        _check("encoder", encoder, [PLAIN_ENCODER, *smp.encoders.get_encoder_names()])


def _check(key: Literal["architecture", "encoder"], name: str, names: Iterable[str]) -> None:
    known = sorted(names)
    if name not in known:
        every = f"; there are {', '.join(known)}" if key == "architecture" else ""
        raise InputError(f"train.{key}: no {key} is called {name}; did you mean {nearest(name, known)}{every}?")
