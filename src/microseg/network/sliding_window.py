"""Logits of micrographs that are too large for one piece: computed in overlapping tiles and blended."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

SIGMA = 0.125
"""Standard deviation of the Gaussian weights, as a fraction of the tile's side."""

SMALLEST_WEIGHT = 1e-3
"""Of the corners of a tile, as a fraction of the weight of its center."""


class Tiling(NamedTuple):
    """Whether the network sees a micrograph in one piece, the default, or in overlapping tiles."""

    tile_size: int | None = None
    """Side in pixels of the square tiles, a multiple of 16; None for one piece."""
    tile_overlap: float = 0.0
    """Fraction of a tile, 0 to below 1, that overlaps its neighbor. There the logits are blended with Gaussian
    weights, so that pixels near the border of a tile, which lack context, count little."""


WHOLE = Tiling()


def tiled_logits(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the logits of normalized micrographs, (batch, 1, height, width), in the same shape; float32 if tiled.

    Tiles are predicted one after the other and averaged with Gaussian weights, as by nnU-Net (Isensee et al.,
    Nature Methods 18:203, 2021). Micrographs smaller than a tile are padded with their border pixels.
    """
    side = tiling.tile_size
    if side is None:
        return cast(Tensor, network(micrographs))
    height, width = micrographs.shape[-2:]
    missing_rows, missing_columns = max(0, side - height), max(0, side - width)
    top, left = missing_rows // 2, missing_columns // 2
    margins = (left, missing_columns - left, top, missing_rows - top)
    padded = functional.pad(micrographs, margins, mode="replicate") if any(margins) else micrographs
    strips = blended_rows(network, lambda rows: padded[..., rows, :], padded.shape[-2], side, tiling.tile_overlap)
    return torch.cat(list(strips), dim=-2)[..., top : top + height, left : left + width]


def blended_rows(
    network: Callable[[Tensor], Tensor], read: Callable[[slice], Tensor], height: int, side: int, overlap: float
) -> Iterator[Tensor]:
    """Yield the logits of tiled micrographs from top to bottom, as soon as all tiles of their rows are blended.

    This takes the memory of one row of tiles of `side` x `side` pixels, however large the micrographs. `read`
    returns rows of them, (batch, 1, rows, width). They are `height` pixels high, and no side is below `side`.
    """
    starts = tile_starts(height, side, overlap)
    logits = total = weights = torch.empty(0)
    for row, following in zip(starts, [*starts[1:], height], strict=True):
        strip = read(slice(row, row + side))
        if row == 0:
            logits = torch.zeros_like(strip, dtype=torch.float32)
            total = torch.zeros(strip.shape[-2:], device=strip.device)
            weights = gaussian_weights(side, strip.device)
        for column in tile_starts(strip.shape[-1], side, overlap):
            window = (..., slice(column, column + side))
            logits[window] += network(strip[window]).float() * weights
            total[window] += weights
        done = following - row
        yield logits[..., :done, :] / total[:done]
        logits, total = (functional.pad(one[..., done:, :], (0, 0, 0, done)) for one in (logits, total))


def tile_starts(size: int, side: int, overlap: float) -> list[int]:
    """Return where the tiles begin along an axis of `size` pixels, `side` at least; the last one ends with it."""
    step = max(1, int(side * (1 - overlap)))
    return [*range(0, size - side, step), size - side]


def gaussian_weights(side: int, device: torch.device) -> Tensor:
    """Return the weights of a tile's pixels, (side, side), 0.001 to 1: a Gaussian around its center."""
    distance = torch.arange(side, device=device) - (side - 1) / 2
    along = torch.exp(distance**2 / (-2 * (SIGMA * side) ** 2))
    return (along[:, None] * along).clamp(min=SMALLEST_WEIGHT)
