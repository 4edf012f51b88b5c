"""The scores that experiments have on each micrograph, read from where DVC and git keep them."""

import io

import pandas as pd

from microseg.experiments.comparison import IMAGE_TABLE, Comparison
from microseg.experiments.crossings import Micrographs
from microseg.experiments.dvc_access import file_at
from microseg.prediction.postprocessing import METHODS


def read_image_table(revision: str | None) -> pd.DataFrame | None:
    """Read the table of micrographs of an experiment, a commit or, with None, the workspace; None without one."""
    text = file_at(revision, IMAGE_TABLE)
    return None if text is None else pd.read_csv(io.StringIO(text)).fillna({"group": ""})


def read_micrographs(comparison: Comparison) -> dict[str, Micrographs]:
    """Read the IoU on each micrograph of those experiments that have a table of it, by their names.

    With one seed at a place there is nothing to do with them, and none is read.
    """
    if not comparison.has_seeds:
        return {}
    tables = {point.name: read_image_table(point.revision) for point in comparison.points}
    return {name: _micrographs(table) for name, table in tables.items() if table is not None and "group" in table}


def _micrographs(table: pd.DataFrame) -> Micrographs:
    methods = {method: table[table["method"] == method].sort_values("image") for method in METHODS}
    iou = {method: [float(value) for value in rows["iou"]] for method, rows in methods.items()}
    return Micrographs(iou, [str(group) for group in methods[METHODS[0]]["group"]])
