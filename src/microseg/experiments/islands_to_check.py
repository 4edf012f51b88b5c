"""Islands that annotator and network disagree on, where the network has not seen the micrograph."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.evaluation.figures import Example
from microseg.evaluation.islands import UnmatchedIsland, unmatched_islands
from microseg.experiments.dvc_access import fetch
from microseg.micrographs.images import read_mask, read_micrograph

MARGIN = 32
"""Pixels around an island that its picture shows."""
ISLANDS_HEADER = ("image", "fold", "kind", "area", "left", "top", "width", "height")


@dataclass(frozen=True)
class IslandToCheck:
    """An island that only one of annotator and network sees, on a micrograph of a fold."""

    image: str
    fold: int
    island: UnmatchedIsland


@dataclass(frozen=True)
class FoldMasks:
    """Files of the folds' micrographs, annotated masks and masks predicted by one method, side by side."""

    folder: Path
    method: str

    def example(self, image: str) -> Example:
        """Return a micrograph with its annotated and its predicted mask."""
        return Example(
            image,
            read_micrograph(self.folder / micrograph_path(image)),
            read_mask(self.folder / truth_path(image)),
            {self.method: read_mask(self.folder / prediction_path(image, self.method))},
        )

    def masks(self, image: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the annotated and the predicted mask of a micrograph."""
        return (
            read_mask(self.folder / truth_path(image)),
            read_mask(self.folder / prediction_path(image, self.method)),
        )


def micrograph_path(image: str) -> str:
    """Return where the pipeline keeps a micrograph."""
    return f"data/raw/images/{image}"


def truth_path(image: str) -> str:
    """Return where the pipeline keeps an annotated mask."""
    return f"data/masks/{image}"


def prediction_path(image: str, method: str) -> str:
    """Return where the pipeline keeps a predicted mask."""
    return f"data/predictions/{method}/{image}"


@contextmanager
def fold_masks(rows: pd.DataFrame, method: str) -> Iterator[FoldMasks]:
    """Fetch micrographs and masks of all rows, each from the experiment `revision` of its fold, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        for revision, own in rows.groupby("revision"):
            paths = [
                path(str(image))
                for image in own["image"]
                for path in (micrograph_path, truth_path, lambda image: prediction_path(image, method))
            ]
            fetch(str(revision), paths, Path(folder))
        yield FoldMasks(Path(folder), method)


def islands_to_check(rows: pd.DataFrame, masks: FoldMasks) -> list[IslandToCheck]:
    """Return all islands without a partner, the largest first: a speck is noise, a large island is a question."""
    found = [
        IslandToCheck(str(row.image), int(str(row.fold)), island)
        for row in rows.itertuples()
        for island in unmatched_islands(*masks.masks(str(row.image)))
    ]
    return sorted(found, key=lambda one: (-one.island.area, one.image, one.island.kind))


def island_row(one: IslandToCheck) -> tuple[object, ...]:
    """Return a row of ISLANDS_HEADER: place and size of the bounding box in pixels."""
    rows, columns = one.island.place
    return (
        *(one.image, one.fold, one.island.kind, one.island.area),
        *(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
    )


def pictures_of_micrographs(rows: pd.DataFrame, masks: FoldMasks) -> list[Example]:
    """Return the whole micrographs of these rows."""
    return [masks.example(str(image)) for image in rows["image"]]


def pictures_of_islands(islands: Sequence[IslandToCheck], masks: FoldMasks) -> list[Example]:
    """Return each island with MARGIN pixels around it."""
    return [_around(masks.example(one.image), one.island) for one in islands]


def _around(whole: Example, island: UnmatchedIsland) -> Example:
    rows, columns = (slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in island.place)
    place = island.place
    return Example(
        f"{whole.name}, {island.kind}:\n{island.area} pixels at column {place[1].start}, row {place[0].start}",
        whole.micrograph[rows, columns],
        whole.truth[rows, columns],
        {method: mask[rows, columns] for method, mask in whole.predictions.items()},
    )
