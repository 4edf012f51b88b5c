"""Cross-validation: every micrograph is predicted once, by a network that has not seen it or its group."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.files import output_folder, write_csv
from microseg.evaluation.figures import Example, plot_examples
from microseg.evaluation.intervals import Interval, ratio_interval
from microseg.evaluation.islands import UnmatchedIsland, unmatched_islands
from microseg.experiments.comparison import IMAGE_TABLE, read_image_table
from microseg.experiments.dvc_access import experiment_reference, fetch, head, run_git
from microseg.experiments.paired import SCORES, sums_of
from microseg.experiments.settings import Experiment
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.plotting import save_figure
from microseg.prediction.postprocessing import METHODS

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


SHOWN = 6
"""How many of the micrographs, and of the islands, to look at first are shown as pictures."""


def fold_settings(folds: int, group_by: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Return the settings of a sweep over all folds, beside those that the user gives."""
    numbers = ",".join(str(number) for number in range(folds))
    groups = [f"split.group_by=[{','.join(group_by)}]"] if group_by else []
    return [f"split.folds={folds}", f"split.fold={numbers}", *groups, *settings]


def out_of_fold(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return the scores of all folds: a row for each micrograph and method, with its `fold` and `revision`.

    Raises:
        InputError: an experiment has no evaluation, or a micrograph was tested twice.
    """
    commit = head()
    tables = []
    for one in experiments:
        revision = run_git("rev-parse", "--verify", experiment_reference(commit, one.name)).strip()
        table = read_image_table(revision)
        if table is None:
            raise InputError(f"{one.name}: no {IMAGE_TABLE}; remove it with `dvc exp remove {one.name}` and go on")
        tables.append(table.assign(fold=int(str(one.values["split.fold"])), revision=revision))
    together = pd.concat(tables, ignore_index=True)
    twice = together[together.duplicated(["image", "method"])]
    if len(twice):
        raise InputError(
            f"{twice['image'].iloc[0]} was tested in two folds; sweep over nothing but the folds, and give one "
            "value for each other parameter"
        )
    return together


def out_of_fold_scores(table: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    """Return each of SCORES, by method and name, over all micrographs with its bootstrap interval."""
    scores = {}
    for method in METHODS:
        own = table[table["method"] == method]
        groups = [str(group) for group in own["group"]]
        for score in SCORES:
            scores[method, score] = ratio_interval(*sums_of(own, score), groups)
    return scores


def look_here_first(table: pd.DataFrame) -> pd.DataFrame:
    """Return the micrographs by rising out-of-fold IoU of the better method: the annotations to check first.

    Where a network that has seen all others sees something else than the annotator, one of the two is wrong.
    """
    means = table.groupby("method")["iou"].mean()
    own = table[table["method"] == means.idxmax()]
    return own.sort_values(["iou", "image"], ignore_index=True)


def write_crossval(table: pd.DataFrame, folder: Path) -> str:
    """Write scores, tables, pictures and the report of a cross-validation into `folder`; return the report."""
    first = look_here_first(table)
    method = str(first["method"].iloc[0])
    columns = ["image", "method", "fold", "group", "iou", "islands_found", "islands_missed", "islands_invented"]
    with output_folder(folder) as partial, fold_masks(first, method) as masks:
        islands = islands_to_check(first, masks)
        report = to_markdown(table, first, islands)
        write_csv(
            partial / "scores.csv",
            ("method", "score", "value", "low", "high"),
            (
                (method, score, one.value, *(one.bounds or ("", "")))
                for (method, score), one in out_of_fold_scores(table).items()
            ),
        )
        write_csv(partial / "micrographs.csv", columns, table[columns].itertuples(index=False))
        write_csv(partial / "look_here_first.csv", columns, first[columns].itertuples(index=False))
        write_csv(partial / "islands_to_check.csv", ISLANDS_HEADER, map(island_row, islands))
        for name, title, examples in (
            ("look_here_first", "Micrographs to check first", pictures_of_micrographs(first[:SHOWN], masks)),
            ("islands_to_check", "Islands to check first", pictures_of_islands(islands[:SHOWN], masks)),
        ):
            if examples:
                save_figure(plot_examples(examples, method, title), partial / f"{name}.png")
        (partial / "report.md").write_text(report, encoding="utf-8", newline="\n")
    return report


def to_markdown(table: pd.DataFrame, first: pd.DataFrame, islands: Sequence[IslandToCheck]) -> str:
    """Return the out-of-fold scores and the micrographs and islands to look at first as Markdown."""
    folds, images = table["fold"].nunique(), table["image"].nunique()
    grouped = " or its group" if table["group"].astype(bool).any() else ""
    lines = [
        f"# Cross-validation in {folds} folds",
        "",
        f"Each of {images} micrographs was predicted once, by a network that has not seen it{grouped}. Intervals "
        "are 95 % bootstrap intervals over micrographs, or over groups where there are any.",
        "",
        "| method | score | out of fold | 95 % interval |",
        "|---|---|---|---|",
    ]
    for (method, score), one in out_of_fold_scores(table).items():
        interval = "" if one.bounds is None else f"{one.low:.4f} to {one.high:.4f}"
        lines.append(f"| {method} | {score} | {one.value:.4f} | {interval} |")
    lines += [
        "",
        "## Look here first",
        "",
        "Where network and annotation agree least, one of them is wrong: check these annotations first "
        "(look_here_first.png shows them; magenta is annotated only, cyan predicted only).",
        "",
        "| micrograph | fold | IoU | islands missed | islands invented |",
        "|---|---|---|---|---|",
    ]
    for row in first.head(SHOWN).itertuples():
        lines.append(
            f"| {row.image} | {row.fold} | {row.iou:.3f} | {row.islands_missed} | {row.islands_invented} |"
        )
    missed = sum(one.island.kind == "missed" for one in islands)
    invented = len(islands) - missed
    lines += [
        "",
        f"{missed} annotated islands have no predicted partner, {invented} predicted ones no annotated "
        "partner (IoU above 0.5). The largest, which islands_to_check.png shows:",
        "",
        "| micrograph | fold | island | pixels | column | row |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, island_row(one)[:6]))} |" for one in islands[:SHOWN]]
    return "\n".join(lines) + "\n"


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
