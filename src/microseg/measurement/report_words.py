"""What the report says in sentences: how wrong the model may be, what to beware of, how it was made."""

from collections import defaultdict
from typing import Any

from microseg.measurement.results import Results
from microseg.measurement.settings import Settings
from microseg.measurement.wording import number, signed_percent

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
    used = results.computed_with
    sizes = sorted({(size.micrometres, size.source) for size in intake.pixel_sizes.values()})
    lines = [f"{number(size, 4)} \N{MICRO SIGN}m a pixel ({source})" for size, source in sizes]
    directions = {"x": "rows", "y": "columns", "both": "rows and columns"}
    tile = f"tiles of {settings.tile} pixels" if settings.tile else "whole micrographs, mosaics in tiles"
    return [
        ("Program", results.provenance()["program"]),
        (
            "Model",
            f"{results.request.model}, weights {model['weights_sha256'][:12]}, epoch {model['epoch']}, trained on "
            f"{len(model['training_micrographs'])} micrographs, IoU {number(model['validation_iou'])} on "
            f"{len(model['validation_micrographs'])} others",
        ),
        ("Prediction", f"{tile}{', mean of the eight symmetries' if settings.symmetries else ''}"),
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
