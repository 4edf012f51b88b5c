"""The report: one page for someone who has never heard of a U-Net, self-contained and printable."""

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from microseg.common.files import output_file
from microseg.measurement.formatting import (
    column_name,
    headline,
    name_and_unit,
    number,
    percent,
    plus_minus,
    signed_percent,
)
from microseg.measurement.report_figures import (
    ISLAND_COLUMNS,
    distribution_figures,
    specimens_figure,
    svg_address,
)
from microseg.measurement.results import Results
from microseg.measurement.settings import Settings
from microseg.measurement.specimens import ACCURACIES

TEMPLATE = "report.html.j2"
GRID_WIDTHS = ((50, 300), (200, 220))
SMALLEST_GRID_WIDTH = 170


def write_report(path: Path, results: Results, islands: Path) -> None:
    """Write the page; `islands` is the table of islands."""
    text = _environment().get_template(TEMPLATE).render(_context(results, islands))
    with output_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("microseg.measurement", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def headlines(results: Results) -> list[dict[str, str]]:
    """Return for each specimen the sentence with its area fraction."""
    rows = results.specimens[results.specimens["quantity"] == "area_fraction"]
    return [{"specimen": row["specimen"], "text": headline(row)} for row in rows.to_dict("records")]


def _context(results: Results, islands: Path) -> dict[str, Any]:
    scaled, fields = results.intake.scaled, results.fields
    columns = [column_name(column, scaled=scaled) for column in ISLAND_COLUMNS]
    table = pd.read_csv(islands, usecols=columns)
    table["specimen"] = table["image"].map(results.intake.specimens)
    count = len(results.records)
    return {
        "title": f"{results.request.folder.resolve().name}: {count} field{'s' if count != 1 else ''} measured",
        "headlines": headlines(results),
        "model_error": model_error_sentence(results.model_error),
        "warnings": warnings(results),
        "world": world(results),
        "specimens": list(results.sensitivity),
        "quantities": _quantities(results),
        "specimens_figure": svg_address(specimens_figure(fields, results.specimens)),
        "sensitivity_names": [_sensitivity_name(name) for name in next(iter(results.sensitivity.values()))],
        "sensitivity": [
            (one, [percent(value) for value in row.values()]) for one, row in results.sensitivity.items()
        ],
        "method": method_words(results.request.settings),
        "islands_note": _islands_note(table, results.request.settings),
        "distributions": [(name, svg_address(one)) for name, one in distribution_figures(table, scaled=scaled)],
        "thumbnail": next((width for most, width in GRID_WIDTHS if count <= most), SMALLEST_GRID_WIDTH),
        "fields": _fields(results),
        "raw": _raw(results),
        "made": made(results),
        "bars": _bars(results),
    }


def _quantities(results: Results) -> list[dict[str, Any]]:
    rows = []
    # The specimens of one quantity stand together, so that they can be compared.
    for quantity in results.quantities:
        name, unit = name_and_unit(quantity, scaled=results.intake.scaled)
        factor = 100 if unit == "%" else 1
        for row in results.specimens[results.specimens["quantity"] == quantity].to_dict("records"):
            one = {
                "name": name,
                "specimen": row["specimen"],
                "fields": row["fields"],
                "mean": plus_minus(factor * row["mean"], factor * row["interval95"]),
                "unit": unit,
                "deviation": number(factor * row["standard_deviation"]),
                "accuracy": number(row["relative_accuracy_percent"], 2),
            }
            for goal in ACCURACIES:
                more = row[f"more_fields_for_{goal}_percent"]
                one[f"more_for_{goal}"] = number(None) if pd.isna(more) else more
            rows.append(one)
    return rows


def _sensitivity_name(name: str) -> str:
    return name if name.isalpha() else f"probability {name}"


def _islands_note(islands: pd.DataFrame, settings: Settings) -> str:
    border = int(islands["touches_border"].sum())
    text = (
        f"{len(islands)} islands; the {border} that the border cuts are left out of these figures, because a part "
    )
    text += "of them is missing. Large islands meet the border more often, so that the largest are too few here."
    if settings.min_area.number:
        text += f" Islands below {area_words(settings)} were left out of everything."
    return text


def _fields(results: Results) -> list[dict[str, Any]]:
    stems = {picture.name: picture.stem for picture in results.intake.pictures}
    return [
        {
            "image": record["image"],
            "stem": stems[record["image"]],
            "specimen": results.intake.specimens[record["image"]],
            "fraction": percent(record["values"]["area_fraction"]),
            "islands": record["values"]["islands"],
            "warnings": results.warnings[record["image"]],
            "thumbnails": record["thumbnails"],
        }
        for record in results.records
    ]


def _raw(results: Results) -> dict[str, list[Any]]:
    """Return the table of fields: names of its first columns, of those measured, of the rest, and the rows."""
    first = ["image", "specimen"] if len(results.sensitivity) > 1 else ["image"]
    measured = {one: name_and_unit(one, scaled=results.intake.scaled) for one in results.quantities}
    own = list(dict.fromkeys(column for row in results.intake.more_columns.values() for column in row))
    rows = [
        [
            *(row[column] for column in first),
            *(number((100 if unit == "%" else 1) * row[column]) for column, (_, unit) in measured.items()),
            *(str(row[column]) for column in ("islands", *own)),
        ]
        for row in results.fields.to_dict("records")
    ]
    return {"first": first, "measured": list(measured.values()), "more": ["islands", *own], "rows": rows}


def _bars(results: Results) -> list[tuple[int, dict[str, Any]]]:
    """Return for each height of an information bar how often it was cut off, with an example."""
    strips = {record["image"]: record["bar"] for record in results.records}
    found: dict[int, dict[str, Any]] = {}
    for picture in results.intake.pictures:
        if picture.bar:
            example = found.setdefault(
                picture.bar, {"image": picture.name, "strip": strips[picture.name], "count": 0}
            )
            example["count"] += 1
    return sorted(found.items())


COARSE_ACCURACY = 10
"""A relative accuracy above so many percent is warned of."""


def model_error_sentence(error: dict[str, Any] | None) -> str:
    """Say how wrong the model may be, from what its evaluation found; plainly where that is not known."""
    if error is None:
        return (
            "How wrong the model may be is not known: its folder has no evaluation that compares area fractions. "
            "The interval above does not include it."
        )
    count = error["micrographs"]
    text = f"How wrong the model may be: on {count} annotated micrograph{'s' if count != 1 else ''} "
    text += f"it was off by {signed_percent(error['mean'])} percentage points on average"
    if "interval95" in error:
        low, high = map(signed_percent, error["interval95"])
        text += f" (95 % interval {low} to {high})"
    if "limits_of_agreement" in error:
        low, high = map(signed_percent, error["limits_of_agreement"])
        text += f", and on 95 of 100 single micrographs by {low} to {high}"
    return f"{text}. The figures here are not corrected by it, and the interval above does not include it."


def warnings(results: Results) -> list[tuple[str, list[str]]]:
    """Return what a reader has to know first: each warning with the fields it is about, none where about all."""
    found: list[tuple[str, list[str]]] = []
    if not results.intake.scaled:
        found.append(("No pixel size is known: all lengths and areas are in pixels", []))
    found += [(f"Left out, because it cannot be read: {one.reason}", []) for one in results.intake.unreadable]
    for row in results.specimens[results.specimens["quantity"] == "area_fraction"].to_dict("records"):
        accuracy = row["relative_accuracy_percent"]
        if accuracy > COARSE_ACCURACY:
            more = row["more_fields_for_10_percent"]
            text = f"{row['specimen']}: %RA is {number(accuracy, 2)} %"
            found.append((f"{text}; about {more} more fields would bring it to {COARSE_ACCURACY} %", []))
    about: dict[str, list[str]] = defaultdict(list)
    for image, texts in results.warnings.items():
        for text in texts:
            # What stands behind the colon is about this field alone, and is said beside it.
            about[text.split(": ")[0]].append(image)
    return found + list(about.items())


def world(results: Results) -> str:
    """Say whether the micrographs were compared with those of the training, and what that is worth."""
    if not results.compared_with_training:
        return (
            "Whether these micrographs resemble those the model was trained on could not be checked, because its "
            "folder does not say what these look like. Look at the outlines below"
        )
    return (
        "Each field was compared with the micrographs the model was trained on. That a field shows no difference "
        "proves nothing: look at the outlines below"
    )


def method_words(settings: Settings) -> str:
    """Say how masks were made from probabilities."""
    if settings.method == "sigmoid":
        return f"sigmoid, a pixel counts from a probability of {settings.threshold:g} on"
    return (
        f"morphology, threshold of the raw output ({settings.morphology_threshold}), then opening with a radius "
        f"of {settings.opening_radius} px and closing with one of {settings.closing_radius} px"
    )


def area_words(settings: Settings) -> str:
    """Return the smallest area of an island with its unit."""
    unit = "px" if settings.min_area.in_pixels else "\N{MICRO SIGN}m"
    return f"{settings.min_area.number:g} {unit}\N{SUPERSCRIPT TWO}"


def made(results: Results) -> list[tuple[str, str]]:
    """Return how the results were made, as terms and what is said of each."""
    settings, model, intake = results.request.settings, results.model, results.intake
    used = results.environment
    sizes = sorted({(size.micrometres, size.source) for size in intake.pixel_sizes.values()})
    lines = [f"{number(size, 4)} \N{MICRO SIGN}m a pixel ({source})" for size, source in sizes]
    directions = {"x": "rows", "y": "columns", "both": "rows and columns"}
    tile = f"tiles of {settings.tile_size} pixels" if settings.tile_size else "whole micrographs, mosaics in tiles"
    return [
        ("Program", results.provenance()["program"]),
        (
            "Model",
            f"{results.request.model}, weights {model['weights_sha256'][:12]}, epoch {model['epoch']}, trained on "
            f"{len(model['training_micrographs'])} micrographs, IoU {number(model['validation_iou'])} on "
            f"{len(model['validation_micrographs'])} others",
        ),
        ("Prediction", f"{tile}{', mean of the eight symmetries' if settings.tta else ''}"),
        ("Computed with", f"{used['device']}, {used['precision']}"),
        ("From probability to masks", method_words(settings)),
        ("Smallest island", area_words(settings) if settings.min_area.number else "one pixel"),
        ("Islands", "pixels that touch at a side or a corner belong together"),
        ("Test lines", directions[settings.direction]),
        (
            "Pixel size",
            "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more" if len(lines) > 4 else "") or "not known",
        ),
        ("Digests", "of every input and of the weights: provenance.json"),
    ]
