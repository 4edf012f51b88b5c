"""The report of a run: one self-contained, printable page for readers who have never heard of a U-Net."""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from microseg.common.files import output_file
from microseg.measurement.correction import CHANGES
from microseg.measurement.formatting import (
    column_name,
    label_of,
    number,
    percent,
    scale_bar,
    signed_percentage_points,
    with_interval,
    with_subscripts,
)
from microseg.measurement.intake import InputImage
from microseg.measurement.model import UsedModel
from microseg.measurement.report_figures import (
    FEWEST_FOR_A_HISTOGRAM,
    ISLAND_COLUMNS,
    distribution_figures,
    specimens_figure,
    svg_url,
)
from microseg.measurement.report_tables import (
    MOST_ROWS_A_QUANTITY,
    changes_tables,
    corrected_table,
    differences_table,
    few_fields_table,
    fields_table,
    measured_table,
    quantities_table,
    sensitivity_table,
    specimens_named,
)
from microseg.measurement.results import Results
from microseg.measurement.segmentation import Record
from microseg.measurement.settings import Settings
from microseg.measurement.specimens import FEWEST_FOR_A_HEADLINE, sampling_warnings
from microseg.measurement.stereology import SPECK_AREA
from microseg.micrographs.pixel_size import PixelSize
from microseg.splits import VALIDATION

TEMPLATE = "report.html.j2"
GRID_WIDTHS = ((50, 300), (200, 220), (math.inf, 170))
"""The width of a field on the page in pixels, up to a number of fields."""

COARSE_ACCURACY = 10
"""The report warns of a relative accuracy above this, in percent."""


def write_report(path: Path, results: Results, islands: Path) -> None:
    """Write the page; `islands` is the table of islands."""
    text = _environment().get_template(TEMPLATE).render(_context(results, islands))
    with output_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("microseg.measurement", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"symbols": with_subscripts, "percent": percent, "scale_bar": scale_bar}
    return environment


def _context(results: Results, islands: Path) -> dict[str, Any]:
    """Return the variables of the template."""
    scaled, fields, settings = results.intake.scaled, results.fields, results.request.settings
    columns = [column_name(column, scaled=scaled) for column in ISLAND_COLUMNS]
    # Of a table without rows pandas cannot know that a column is true or false.
    table = pd.read_csv(islands, usecols=columns, dtype={"touches_border": bool})
    table = table[~table["image"].isin(results.repeated)]
    table["specimen"] = table["image"].map(results.intake.specimens)
    count, images = len(results.records), list(zip(results.intake.images, results.records, strict=True))
    return {
        "title": f"{results.request.folder.resolve().name}: {count} field{'s' if count != 1 else ''} measured",
        "specimens": len(results.sensitivity),
        "specimens_named": specimens_named(results),
        "measured": measured_table(results),
        "headlines": headlines(results),
        "model_error": _model_error(results),
        "warnings": _warnings(results),
        "predicted": results.model is not None,
        "compared_with_training": bool(results.model and results.model.statistics),
        "few_fields": few_fields_table(results),
        "corrected": corrected_table(results),
        "changes": changes_tables(results),
        "count": count,
        "earlier": results.request.compare_with,
        "changed": None if results.changes is None else results.changes[list(CHANGES)].sum().to_dict(),
        "quantities": quantities_table(results),
        "one_row_a_specimen": len(results.sensitivity) > MOST_ROWS_A_QUANTITY,
        "differences": differences_table(results),
        "specimens_figure": svg_url(specimens_figure(fields, results.specimens)) if len(table) else None,
        "sensitivity": sensitivity_table(results),
        "method": _method(settings),
        "islands_note": _islands_note(table, results),
        "fewest_for_a_histogram": FEWEST_FOR_A_HISTOGRAM,
        "distributions": [(name, svg_url(figure)) for name, figure in distribution_figures(table, scaled=scaled)],
        "grid_width": next(width for most, width in GRID_WIDTHS if count <= most),
        "results": results,
        "fields": images,
        "fields_table": fields_table(results),
        "details": _details(results),
        "bars": _bars(images),
    }


def headlines(results: Results) -> list[dict[str, str]]:
    """Return the headline of each specimen: {"specimen": its name, "text": its area fraction in a sentence}."""
    scaled = results.intake.scaled
    if results.corrected is not None:
        groups = results.corrected.groupby("specimen", sort=False)
        texts = {name: _corrected_headline(group.to_dict("records"), scaled=scaled) for name, group in groups}
    else:
        rows = {quantity: group.to_dict("records") for quantity, group in results.specimens.groupby("quantity")}
        column = column_name("number_per_mm2", scaled=scaled)
        unit = label_of(column, scaled=scaled).unit
        texts = {
            row["specimen"]: headline(row, f"{number(counts['high'], 2)} {unit}")
            for row, counts in zip(rows["area_fraction"], rows[column], strict=True)
        }
        for row in results.few_fields.to_dict("records"):
            if not row["reason"]:
                interval = with_interval(*(100 * row[name] for name in ("area_fraction", "low", "high")))
                texts[row["specimen"]] += f". Where measured, A_A = {interval} % (95 %)"
    return [{"specimen": str(specimen), "text": text} for specimen, text in texts.items()]


def _corrected_headline(rows: list[dict[Any, Any]], *, scaled: bool) -> str:
    """Return A_A and N_A of a specimen, corrected by a random sample of its fields, as a sentence."""
    fields, corrected = rows[0]["fields"], rows[0]["corrected_fields"]
    if math.isnan(rows[0]["mean"]):
        return f"{corrected} of {fields} fields corrected: too few, or too much alike, for a corrected result"
    values = []
    for symbol, row in zip(("A_A", "N_A"), rows, strict=True):
        label = label_of(row["quantity"], scaled=scaled)
        if not math.isnan(row["mean"]):
            values.append(f"{symbol} = {label.interval(row['mean'], row['low'], row['high'])} {label.unit}")
    alone = with_interval(*(100 * rows[0][f"uncorrected_{name}"] for name in ("mean", "low", "high")))
    text = f"Corrected: {', '.join(values)} (95 %, n = {fields} fields, {corrected} of them corrected at random)"
    return f"{text}; uncorrected A_A = {alone} %"


def headline(row: Mapping[Any, Any], most_islands: str) -> str:
    """Return the area fraction of a specimen as a sentence.

    `row` is its row of the table of specimens, `most_islands` the upper limit of its islands per area, with unit.
    """
    fields = int(row["fields"])
    counted = f"n = {fields} field{'s' if fields != 1 else ''}"
    if fields < FEWEST_FOR_A_HEADLINE:
        return f"{counted}: too few for a result, measure at least {FEWEST_FOR_A_HEADLINE}"
    if not row["mean"]:
        return f"N_A is below {most_islands} with 95 % confidence: no island in {fields} fields"
    text = f"A_A = {with_interval(*(100 * row[name] for name in ('mean', 'low', 'high')))} %"
    accuracy = row["relative_accuracy_percent"]
    if math.isnan(accuracy):
        return f"{text} ({counted}): no confidence interval from equal fields, or islands in one of them"
    text = f"{text} (95 %, {counted}, %RA {number(accuracy, 2)} %)"
    more = int(row["more_fields_for_5_percent"])
    if more:
        return f"{text}; about {more} more field{'s' if more != 1 else ''} for 5 %"
    return f"{text}; enough fields for 5 %"


def _model_error(results: Results) -> str:
    """Say how far the model was off in its evaluation, or that this is not known."""
    error = results.model_error
    if results.model is None:
        return "Masks were given: the interval above does not include errors of their outlines."
    if error is None:
        return (
            "The error of the model is not known: its folder has no evaluation that compares area fractions. "
            "The interval above does not include it."
        )
    count, dataset = error["micrographs"], error["dataset"]
    source, split = dataset.get("source", "of unknown source"), dataset.get("split", "annotated")
    text = f"Error of the model: on {count} {split} micrograph{'s' if count != 1 else ''} ({source}) "
    text += f"it was off by {signed_percentage_points(error['mean'])} percentage points on average"
    if "interval95" in error:
        low, high = map(signed_percentage_points, error["interval95"])
        text += f" (95 % interval {low} to {high})"
    if "limits_of_agreement" in error:
        low, high = map(signed_percentage_points, error["limits_of_agreement"])
        text += f", and on 95 of 100 single micrographs by {low} to {high}"
    if split == VALIDATION:
        text += ". They chose the epoch of the model, so this is not an independent test"
    return f"{text}. The results here are not corrected for it, and the interval above does not include it."


def _warnings(results: Results) -> dict[str, list[str]]:
    """Return what a reader has to know first: warnings, each with the fields or specimens that it is about."""
    found: dict[str, list[str]] = {}
    if not results.intake.scaled:
        found["No pixel size is known: all lengths and areas are in pixels"] = []
    if results.intake.ignored:
        found[results.intake.ignored] = []
    found |= {f"Left out because it cannot be read: {one.reason}": [] for one in results.intake.unreadable}
    for text, specimen in sampling_warnings(results.counted, scaled=results.intake.scaled):
        found.setdefault(text, []).append(specimen)
    for row in results.specimens[results.specimens["quantity"] == "area_fraction"].to_dict("records"):
        accuracy, more = row["relative_accuracy_percent"], row["more_fields_for_10_percent"]
        if accuracy > COARSE_ACCURACY:
            advice = "" if pd.isna(more) else f", about {more} more fields for {COARSE_ACCURACY} %"
            specimen = f"{row['specimen']} (%RA {number(accuracy, 2)} %{advice})"
            found.setdefault(f"A_A is not accurate to {COARSE_ACCURACY} %", []).append(specimen)
    ratios = results.specimens[results.specimens["quantity"] == "interceptions_x_over_y"]
    for row in ratios[(ratios["low"] > 1) | (ratios["high"] < 1)].to_dict("records"):
        text = (
            "N_L along x differs from N_L along y (by chance in one of 20 specimens), but S_V = 4 N_L holds where "
            "all directions are alike"
        )
        found.setdefault(text, []).append(f"{row['specimen']} (ratio {number(row['mean'])})")
    for text in (results.model_error or {}).get("unlike_this_run", []):
        found[f"Unlike the evaluation of the model, whose error may not hold here: {text}"] = []
    for image, texts in results.warnings.items():
        for text in texts:
            # Behind the colon are values of this field alone, which are shown beside it.
            found.setdefault(text.split(": ")[0], []).append(image)
    return found


def _method(settings: Settings) -> str:
    if settings.method == "sigmoid":
        return f"sigmoid, foreground where the probability is above {settings.threshold:.3g}"
    threshold = settings.morphology_threshold
    limit = "Otsu's threshold of each micrograph" if threshold == "otsu" else number(threshold)
    return (
        f"morphology, foreground where the logit is above {limit}, then opening with a radius of "
        f"{settings.opening_radius} px and closing with a radius of {settings.closing_radius} px"
    )


def _islands_note(islands: pd.DataFrame, results: Results) -> str:
    settings, specks = results.request.settings, int(results.counted["specks"].sum())
    if islands.empty:
        return "No island was found."
    border = int(islands["touches_border"].sum())
    text = (
        f"{len(islands)} islands, of which {border} are cut by the image border and excluded from these figures. "
        "Large islands are cut more often, so they are underrepresented here."
    )
    if specks:
        text += (
            f" {specks} of them {'are specks' if specks > 1 else 'is a speck'} of fewer than {SPECK_AREA} pixels, "
            "too few to have a shape. N_A without specks is in the table above."
        )
    if settings.min_area.number:
        text += f" Islands below {_smallest_area(settings)} are excluded from everything."
    return text


def _smallest_area(settings: Settings) -> str:
    unit = "px" if settings.min_area.in_pixels else "\N{MICRO SIGN}m"
    return f"{settings.min_area.number:g} {unit}\N{SUPERSCRIPT TWO}"


def _details(results: Results) -> list[tuple[str, str]]:
    """Return how the results were made, as terms and their descriptions."""
    settings, directions = results.request.settings, {"x": "rows", "y": "columns", "both": "rows and columns"}
    sizes = sorted(set(results.intake.pixel_sizes.values()), key=attrgetter("micrometres", "source"))
    pixel_sizes = [*map(_per_pixel, sizes[:4]), *([f"and {len(sizes) - 4} more"] if len(sizes) > 4 else [])]
    masks = [("Masks", f"given, {results.request.masks}")]
    return [
        ("Program", results.provenance()["program"]),
        *(_model_details(results.model, settings) if results.model else masks),
        ("Smallest island", _smallest_area(settings) if settings.min_area.number else "one pixel"),
        ("Islands", "pixels that touch at a side or a corner belong to the same island"),
        ("Test lines", directions[settings.direction]),
        ("Pixel size", "; ".join(pixel_sizes) or "not known"),
        ("Digests", "those of all inputs are in provenance.json"),
    ]


def _model_details(used: UsedModel, settings: Settings) -> list[tuple[str, str]]:
    model, size = used.card, used.pixel_size
    tiles = (
        f"tiles of {settings.tile_size} pixels" if settings.tile_size else "whole micrographs, mosaics in tiles"
    )
    return [
        (
            "Model",
            f"{used.source}, weights {model.weights_sha256[:12]}, epoch {model.epoch}, trained on "
            f"{len(model.training_micrographs)} micrographs, validation IoU {number(model.validation_iou)} "
            f"on {len(model.validation_micrographs)} others",
        ),
        *([("Foreground of its annotations", ", ".join(model.foreground))] if model.foreground else []),
        ("Pixel size of the training", _per_pixel(size) if size else "not known, so another would not be noticed"),
        ("Prediction", f"{tiles}{', averaged over the eight flips and rotations' if settings.tta else ''}"),
        ("Environment", "{device}, {precision}".format_map(used.environment)),
        ("From probabilities to masks", _method(settings)),
    ]


def _per_pixel(size: PixelSize) -> str:
    return f"{number(size.micrometres, 4)} \N{MICRO SIGN}m per pixel ({size.source})"


def _bars(fields: Iterable[tuple[InputImage, Record]]) -> list[tuple[int, dict[str, Any]]]:
    """Return for each height of an information bar how often it was cut off, with an example."""
    found: dict[int, dict[str, Any]] = {}
    for image, record in fields:
        if image.bar:
            one = found.setdefault(image.bar, {"image": image.name, "thumbnail": record["bar"], "count": 0})
            one["count"] += 1
    return sorted(found.items())
