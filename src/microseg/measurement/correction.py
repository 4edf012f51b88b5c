"""What the correction of masks changed since an earlier run, and what it says of the model's error.

If the corrected micrographs are a random sample of those of the earlier run, the difference estimator corrects the
means of all of them (`difference_estimator`). Whether they are random nobody can prove. They are not where the
list of `microseg next` gives another reason for one of them, or where they rank higher in uncertainty, the change
of the area fraction between two thresholds, than one random sample in a hundred (Mann and Whitney's test).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu
from tifffile import imread

from microseg.common.errors import InputError
from microseg.common.tables import as_text, read_table
from microseg.evaluation.intervals import FRACTION, NOT_NEGATIVE
from microseg.measurement.difference_estimator import difference_estimate
from microseg.measurement.formatting import column_name
from microseg.measurement.intake import Intake
from microseg.measurement.settings import PROBABILITIES, Request
from microseg.measurement.specimens import summarize
from microseg.measurement.stereology import QUANTITIES, Labels, island_areas

RANDOM = "random"
"""What the column `reason` of the list of `microseg next` says of micrographs that it has drawn."""
LEAST_CHANCE = 0.01
NEEDED = PROVENANCE, FIELDS, LABELS = "provenance.json", "fields.csv", "labels"
"""Files and folders of the results that are read."""
CHANGES = ("added", "removed", "redrawn", "unchanged")
ESTIMATED = {"area_fraction": FRACTION, "number_per_mm2": NOT_NEGATIVE}
"""The quantities that are corrected, with their bounds."""


@dataclass(frozen=True)
class Earlier:
    """The results of an earlier run of `microseg segment` or `microseg measure`."""

    folder: Path
    fields: pd.DataFrame
    """Its table of fields, by image."""


def read_earlier(folder: Path, request: Request, intake: Intake) -> Earlier:
    """Read the results that the masks of a run are corrections of.

    Raises:
        InputError: they are no such results, are of other micrographs or were measured in another way, the masks
            are corrections of another model's results, or the corrected micrographs are no random sample.
    """
    option = f"--compare-with {folder}"
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing:
        raise InputError(
            f"{option}: no results of microseg segment or measure, as {missing[0]} is missing; give such"
        )
    made = _provenance(folder)
    names = {"image": str, "specimen": str}
    fields = pd.read_csv(folder / FIELDS, dtype=names, keep_default_na=False, na_values=[""]).set_index("image")
    settings = json.loads(json.dumps(asdict(request.settings)))
    inputs = {one["image"]: one for one in made["inputs"]}
    for image in intake.images:
        then = inputs.get(image.name, {})
        if then.get("sha256") != image.sha256:
            raise InputError(f"{option}: {image.name} is not among its micrographs, or another one")
        then |= {"specimen": fields["specimen"][image.name], **made["settings"]}
        now = {name: settings[name] for name in ("direction", "min_area", "valid_area")}
        now |= {"cropped_bottom_px": image.bar, "pixel_size_um": intake.pixel_size_um(image.name)}
        now |= {"specimen": as_text(intake.specimens[image.name])}
        other = [name for name, value in now.items() if then.get(name) != value]
        if other:
            raise InputError(
                f"{option}: {image.name} was measured there with another {other[0]}; give the options of then"
            )
    given = request.masks.resolve().parent if request.masks else folder
    models = [_provenance(one)["model"] for one in (given, folder) if (one / PROVENANCE).exists()]
    if len({one["weights_sha256"] for one in models if one}) > 1:
        raise InputError(f"{request.masks}: corrections of another model's results than those in {folder}")
    if request.random_sample is not None:
        _refuse_if_not_random(fields, [image.name for image in intake.images], request.random_sample)
    return Earlier(folder, fields)


def _provenance(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    return content


def _refuse_if_not_random(fields: pd.DataFrame, images: Sequence[str], listed: Path) -> None:
    advice = "correct a random sample, or omit --random-sample"
    reasons = {}
    if listed.is_file():
        header, rows = read_table(listed)
        reasons = {row[header.index("image")]: row[header.index("reason")] for _, row in rows}
    chosen = [image for image in images if reasons.get(image, RANDOM) != RANDOM]
    if chosen:
        raise InputError(f"{chosen[0]}: {listed} lists it as {reasons[chosen[0]]}, not as {RANDOM}; {advice}")
    low, high = (f"area_fraction_{probability:g}" for probability in (min(PROBABILITIES), max(PROBABILITIES)))
    corrected = fields.index.isin(images)
    if low not in fields or corrected.all():
        return
    uncertainty = (fields[low] - fields[high]).abs()
    test = mannwhitneyu(uncertainty[corrected], uncertainty[~corrected], alternative="greater")
    if test.pvalue < LEAST_CHANCE:
        raise InputError(
            f"--random-sample: the {len(images)} corrected micrographs are those the network was least certain "
            f"of, as hardly any random sample is; {advice}"
        )


def change_table(
    earlier: Earlier, fields: pd.DataFrame, stems: Sequence[str], results: Path, *, scaled: bool
) -> pd.DataFrame:
    """Return a row for each micrograph: the changes of its islands, and what was measured before and after.

    Args:
        earlier: the earlier run.
        fields: the table of fields of this run.
        stems: what the results of each are named after.
        results: the folder of this run's results, with labels/.
        scaled: whether lengths are in micrometres or in pixels.
    """
    labels = ((imread(one / LABELS / f"{stem}.tif") for one in (earlier.folder, results)) for stem in stems)
    counts = pd.DataFrame([count_changes(*pair) for pair in labels])
    table = pd.concat([fields[["image", "specimen"]], counts], axis=1)
    before = earlier.fields.loc[fields["image"]].reset_index()
    for quantity in ("islands", *(column_name(one, scaled=scaled) for one in QUANTITIES)):
        if quantity in before and quantity in fields:
            table[f"{quantity}_before"], table[f"{quantity}_after"] = before[quantity], fields[quantity]
    return table


def count_changes(before: Labels, after: Labels) -> dict[str, int]:
    """Return how many islands were added, removed, redrawn and left unchanged.

    Args:
        before: numbered islands, (height, width), 0 in the background.
        after: those after the correction, which are counted as redrawn or unchanged if they overlap earlier ones.
    """
    areas = [island_areas(labels.astype(np.int64)) for labels in (before, after)]
    both = (before > 0) & (after > 0)
    pairs, overlaps = np.unique(np.stack([before[both], after[both]]).astype(int), axis=1, return_counts=True)
    unchanged = int(((overlaps == areas[0][pairs[0] - 1]) & (overlaps == areas[1][pairs[1] - 1])).sum())
    kept_before, kept_after = (len(np.unique(numbers)) for numbers in pairs)
    counts = (len(areas[1]) - kept_after, len(areas[0]) - kept_before, kept_after - unchanged, unchanged)
    return dict(zip(CHANGES, counts, strict=True))


def corrected_table(earlier: Earlier, fields: pd.DataFrame, *, scaled: bool) -> pd.DataFrame:
    """Return A_A and N_A of each specimen of the earlier run, corrected by the difference estimator.

    Args:
        earlier: the earlier run.
        fields: the table of fields of this run, a random sample of the earlier ones.
        scaled: whether lengths are in micrometres or in pixels.

    Returns:
        A row for each specimen and quantity, with NaN where there is no estimate; `uncorrected_mean`, `_low` and
        `_high` are those of the earlier run.
    """
    after, rows = fields.set_index("image"), []
    for specimen, before in earlier.fields.groupby("specimen", sort=False):
        for quantity, bounds in ESTIMATED.items():
            column, area = (column_name(one, scaled=scaled) for one in (quantity, "area_um2"))
            differences = after[column].reindex(before.index) - before[column]
            here = before.index.isin(after.index)
            found = None
            # N_A is not defined where an island reaches across a field.
            if before[column].notna().all() and differences[here].notna().all():
                found = difference_estimate(before[column], differences, areas=before[area], bounds=bounds)
            mean, low, high, more = astuple(found) if found else [math.nan] * 4
            row = {"specimen": specimen, "quantity": column, "fields": len(before)}
            row |= {"corrected_fields": int(here.sum()), "mean": mean, "low": low, "high": high}
            alone = summarize(before, quantity, scaled=scaled)
            row |= {f"uncorrected_{name}": alone[name] for name in ("mean", "low", "high")}
            rows.append(row | {"corrections_to_halve": more})
    return pd.DataFrame(rows).astype({"corrections_to_halve": "Int64"})
