"""Logits of micrographs that are too large for one piece: of overlapping tiles, blended."""

from typing import NamedTuple, cast

from torch import Tensor, nn


class Tiling(NamedTuple):
    """Whether the network sees a micrograph in one piece, the default, or in overlapping tiles."""

    tile_size: int | None = None
    """Side in pixels of the square tiles, a multiple of 16; None for one piece."""
    tile_overlap: float = 0.0
    """Share of a tile, 0 to below 1, that overlaps its neighbour. There the logits are blended with Gaussian
    weights, so that pixels near the border of a tile, which lack surroundings, count little."""


WHOLE = Tiling()


def tiled_logits(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return what the network says of micrographs of shape (batch, 1, height, width).

    Args:
        network: maps micrographs to logits of the same shape.
        micrographs: normalised grey values.
        tiling: the pieces in which the network sees them.
    """
    if tiling.tile_size is None:
        return cast(Tensor, network(micrographs))
    from monai.inferers.utils import sliding_window_inference  # seconds to import, for tiles only

    tiled = sliding_window_inference(
        micrographs,
        roi_size=(tiling.tile_size, tiling.tile_size),
        sw_batch_size=1,
        predictor=network,
        overlap=tiling.tile_overlap,
        mode="gaussian",
        padding_mode="replicate",
    )
    return cast(Tensor, tiled)
