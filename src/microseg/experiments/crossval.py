"""Cross-validation: every micrograph is predicted once, by a network trained without it and its group."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from microseg.annotations.polygonize import annotation_line, polygonize
from microseg.annotations.polygons import read_polygons
from microseg.common.errors import InputError
from microseg.common.files import output_folder, write_csv
from microseg.common.tables import markdown_table
from microseg.evaluation.figures import Example, plot_examples
from microseg.evaluation.intervals import FRACTION, Estimate, estimate, student_interval
from microseg.evaluation.islands import UnmatchedIsland, unmatched_islands
from microseg.experiments.comparison import IMAGE_TABLE, read_image_table
from microseg.experiments.dvc_access import experiment_reference, fetch, head, run_git
from microseg.experiments.paired import SCORES, sums_of
from microseg.experiments.settings import Experiment, parse_setting
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.micrographs.metadata import values_of
from microseg.plotting import save_figure
from microseg.prediction.postprocessing import METHODS
from microseg.splits import folds_of_column

SHOWN = 6
"""How many of the micrographs and islands to check first are shown as images."""
MARGIN = 32
"""Pixels shown around an island."""
OVER_FOLDS = "mean over folds of the pooled IoU"

COLUMNS = ("image", "method", "fold", "group", "iou", "islands_found", "islands_missed", "islands_invented")
ISLANDS_HEADER = (
    *("image", "fold", "kind", "area", "left", "top", "width", "height"),
    *("island", "verdict", "by", "date", "outline"),
)
"""The last five are those of a review: the verdict is still to be filled in."""


@dataclass(frozen=True)
class IslandToCheck:
    """An island that either the annotator or the network sees, but not both."""

    image: str
    fold: int
    island: UnmatchedIsland


@dataclass(frozen=True)
class FoldMasks:
    """A folder with the micrographs of all folds, their annotated masks and the masks predicted by one method."""

    folder: Path
    method: str

    def example(self, image: str) -> Example:
        """Return a micrograph with its annotated and its predicted mask."""
        micrograph, *_ = pipeline_paths(image, self.method)
        annotated, predicted = self.masks(image)
        return Example(image, read_micrograph(self.folder / micrograph), annotated, {self.method: predicted})

    def masks(self, image: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the annotated and the predicted mask of a micrograph, (height, width)."""
        _, annotated, predicted = pipeline_paths(image, self.method)
        return read_mask(self.folder / annotated), read_mask(self.folder / predicted)


def fold_settings(folds: int, group_by: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Return the settings of a sweep over all folds, followed by those of the user, which may not change them."""
    groups = [f"split.group_by=[{','.join(group_by)}]"] if group_by else []
    own = [f"split.folds={folds}", f"split.fold={','.join(map(str, range(folds)))}", *groups]
    keys = {text.partition("=")[0] for text in own}
    changed = next((text for text in settings if parse_setting(text)[0] in keys), None)
    if changed:
        raise InputError(f"-S {changed}: is set by --folds, --fold-column or --group-by; leave it out")
    return [*own, *settings]


def published_fold_settings(column: str, settings: Sequence[str]) -> list[str]:
    """Return the settings of a sweep over the folds in a column of metadata.csv; InputError if it has none."""
    images = [mask.img_name for mask in read_polygons(Path("data/polygons.jsonl"))]
    named = values_of(Path("data/raw/metadata.csv"), images, [column])
    folds = folds_of_column({image: value.strip() for image, (value,) in named.items()})
    return [f"split.fold_column={column}", *fold_settings(len(folds), [], settings)[1:]]


def out_of_fold(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return the scores of all folds: a row for each micrograph and method, with the columns fold and revision.

    Raises:
        InputError: an experiment has no evaluation, or a micrograph was tested twice.
    """
    commit = head()
    tables = []
    for one in experiments:
        revision = run_git("rev-parse", "--verify", experiment_reference(commit, one.name)).strip()
        table = read_image_table(revision)
        if table is None:
            raise InputError(
                f"{one.name}: has no {IMAGE_TABLE}; remove it with `dvc exp remove {one.name}`, then run it again"
            )
        tables.append(table.assign(fold=int(str(one.values["split.fold"])), revision=revision))
    together = pd.concat(tables, ignore_index=True)
    twice = together[together.duplicated(["image", "method"])]
    if len(twice):
        raise InputError(
            f"{twice['image'].iloc[0]} was tested in two folds; sweep only over the folds, and give one value for "
            "every other parameter"
        )
    return together


def write_crossval(table: pd.DataFrame, folder: Path) -> str:
    """Write the scores, tables, figures and report of a cross-validation into `folder`; return the report."""
    first = look_here_first(table)
    method = str(first["method"].iloc[0])
    with output_folder(folder) as partial, fold_masks(first, method) as masks:
        islands = islands_to_check(first, masks)
        report = to_markdown(table, first, islands)
        write_csv(
            partial / "scores.csv",
            ("method", "score", "value", "low", "high"),
            (
                (method, score, one.value, *(one.bounds or ("", "")))
                for (method, score), one in {**out_of_fold_scores(table), **scores_over_folds(table)}.items()
            ),
        )
        write_csv(partial / "micrographs.csv", COLUMNS, table[list(COLUMNS)].itertuples(index=False))
        write_csv(partial / "look_here_first.csv", COLUMNS, first[list(COLUMNS)].itertuples(index=False))
        write_csv(partial / "islands_to_check.csv", ISLANDS_HEADER, map(island_row, islands))
        micrographs = [masks.example(str(image)) for image in first["image"][:SHOWN]]
        cut_out = [_cut_out(masks.example(one.image), one.island) for one in islands[:SHOWN]]
        for name, what, shown in (
            ("look_here_first", "Micrographs", micrographs),
            ("islands_to_check", "Islands", cut_out),
        ):
            if shown:
                figure = plot_examples(shown, method, f"{what} to check first")
                save_figure(figure, partial / f"{name}.png")
        (partial / "report.md").write_text(report, encoding="utf-8", newline="\n")
    return report


def out_of_fold_scores(table: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    """Return each of SCORES over all micrographs with its interval, by method and name."""
    scores = {}
    for method in METHODS:
        own = table[table["method"] == method]
        groups = [str(group) for group in own["group"]]
        for score in SCORES:
            scores[method, score] = estimate(*sums_of(own, score), groups=groups)
    return scores


def scores_over_folds(table: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    """Return the mean over folds of their pooled IoU with its interval, by method and OVER_FOLDS.

    This is how publications state the IoU of a cross-validation. The networks of two folds share most of their
    training micrographs, so the variance is that of Nadeau and Bengio (Machine Learning 52:239, 2003).
    """
    scores = {}
    for method in METHODS:
        values = [estimate(*sums_of(own, "pooled IoU")).value for _, own in _folds_of(table, method)]
        folds, mean, deviation = len(values), fmean(values), stdev(values) if len(values) > 1 else 0.0
        error = deviation * math.sqrt(1 / folds + 1 / max(1, folds - 1))
        interval = student_interval(mean, error, folds - 1, FRACTION) if error else None
        scores[method, OVER_FOLDS] = Estimate(mean, interval)
    return scores


def _folds_of(table: pd.DataFrame, method: str) -> Iterator[tuple[int, pd.DataFrame]]:
    for fold, own in table[table["method"] == method].groupby("fold"):
        yield int(str(fold)), own


def look_here_first(table: pd.DataFrame) -> pd.DataFrame:
    """Return the micrographs by increasing out-of-fold IoU of the better method: the annotations to check first.

    Where a network trained on all others disagrees with the annotator, one of the two is wrong.
    """
    means = table.groupby("method")["iou"].mean()
    own = table[table["method"] == means.idxmax()]
    return own.sort_values(["iou", "image"], ignore_index=True)


@contextmanager
def fold_masks(rows: pd.DataFrame, method: str) -> Iterator[FoldMasks]:
    """Fetch micrographs and masks of all rows, each from the experiment of its fold, into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        for revision, own in rows.groupby("revision"):
            paths = [path for image in own["image"] for path in pipeline_paths(str(image), method)]
            fetch(str(revision), paths, Path(folder))
        yield FoldMasks(Path(folder), method)


def pipeline_paths(image: str, method: str) -> tuple[str, str, str]:
    """Return where the pipeline keeps a micrograph, its annotated mask, and the mask predicted by a method."""
    return f"data/raw/images/{image}", f"data/masks/{image}", f"data/predictions/{method}/{image}"


def islands_to_check(rows: pd.DataFrame, masks: FoldMasks) -> list[IslandToCheck]:
    """Return all islands without a counterpart, the largest first: small ones are noise, large ones a question."""
    found = [
        IslandToCheck(str(row.image), int(str(row.fold)), island)
        for row in rows.itertuples()
        for island in unmatched_islands(*masks.masks(str(row.image)))
    ]
    return sorted(found, key=lambda one: (-one.island.area, one.image, one.island.kind))


def _cut_out(whole: Example, island: UnmatchedIsland) -> Example:
    """Return an island with MARGIN pixels around it."""
    rows, columns = (slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in island.place)
    top, left = (side.start for side in island.place)
    return Example(
        f"{whole.name}, {island.kind}:\n{island.area} pixels at column {left}, row {top}",
        whole.micrograph[rows, columns],
        whole.truth[rows, columns],
        {method: mask[rows, columns] for method, mask in whole.predictions.items()},
    )


def to_markdown(table: pd.DataFrame, first: pd.DataFrame, islands: Sequence[IslandToCheck]) -> str:
    """Return the out-of-fold scores, and the micrographs and islands to check first, as Markdown."""
    folds, images = table["fold"].nunique(), table["image"].nunique()
    missed = sum(one.island.kind == "missed" for one in islands)
    invented = len(islands) - missed
    grouped = " or its group" if table["group"].astype(bool).any() else ""
    lines = [
        f"# Cross-validation in {folds} folds",
        "",
        f"Each of {images} micrographs was predicted once, by a network that has not seen it{grouped}. Intervals "
        "are 95 % intervals over micrographs, or over groups if there are any.",
        "",
        *markdown_table(("method", "score", "out of fold", "95 % interval"), _score_rows(table)),
        "Fold by fold, all pixels of a fold together, as publications state it:",
        "",
        *markdown_table(
            ("fold", "micrographs", *(f"{method}, pooled IoU" for method in METHODS)), _fold_rows(table)
        ),
        "## Check these annotations first",
        "",
        "Where network and annotation agree least, one of them is wrong (look_here_first.png shows them; magenta "
        "is annotated only, cyan predicted only).",
        "",
        *markdown_table(
            ("micrograph", "fold", "IoU", "islands missed", "islands invented"),
            (
                (row.image, row.fold, f"{row.iou:.3f}", row.islands_missed, row.islands_invented)
                for row in first.head(SHOWN).itertuples()
            ),
        ),
        f"{missed} annotated islands have no predicted counterpart, {invented} predicted ones no annotated "
        "counterpart (IoU above 0.5). The largest ones, shown in islands_to_check.png:",
        "",
        *markdown_table(
            ("micrograph", "fold", "island", "pixels", "column", "row"),
            (island_row(one)[:6] for one in islands[:SHOWN]),
        ),
    ]
    return "\n".join(lines)


def _score_rows(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for (method, score), one in {**out_of_fold_scores(table), **scores_over_folds(table)}.items():
        interval = "" if one.interval is None else f"{one.interval.low:.4f} to {one.interval.high:.4f}"
        yield method, score, f"{one.value:.4f}", interval


def _fold_rows(table: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    for folds in zip(*(_folds_of(table, method) for method in METHODS), strict=True):
        number, own = folds[0]
        yield number, len(own), *(f"{estimate(*sums_of(own, 'pooled IoU')).value:.4f}" for _, own in folds)


def island_row(one: IslandToCheck) -> tuple[object, ...]:
    """Return a row of ISLANDS_HEADER: where an island is, a point of it if it is missed, or its outline."""
    rows, columns = one.island.place
    missed = one.island.kind == "missed"
    pixels = one.island.pixels if missed else ndimage.binary_fill_holes(one.island.pixels)
    nodes = max(polygonize(pixels), key=lambda piece: shapely.area(shapely.polygons(piece)))
    _, point, outline = annotation_line("", nodes + np.array([columns.start, rows.start])).split(";")
    return (
        *(one.image, one.fold, one.island.kind, one.island.area),
        *(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
        *(point if missed else "", "", "", "", "" if missed else outline),
    )
