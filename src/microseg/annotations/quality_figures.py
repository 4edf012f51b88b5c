"""Pictures of how much was annotated, and of what in it is wrong or odd."""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from microseg.annotations.figures import Values, plot_distribution
from microseg.annotations.findings import count
from microseg.annotations.polygons import most_annotated
from microseg.annotations.quality import KINDS, MOST_ANNOTATED, CheckedAnnotations
from microseg.common.figure_style import BLUE, ORANGE


def annotation_figures(checked: CheckedAnnotations) -> Iterator[tuple[str, Figure]]:
    """Draw the pictures of a table of annotations with at least one polygon, each with its file name."""
    yield "most_annotated.png", plot_most_annotated(most_annotated(checked.masks, MOST_ANNOTATED))
    distributions: list[tuple[str, Values, str, str]] = [
        ("polygons_per_image", [len(mask) for mask in checked.masks], "islands of a micrograph", "micrographs"),
        ("vertices_per_polygon", checked.shapes.vertices, "vertices of a polygon", "polygons"),
        ("polygon_area", checked.shapes.areas, "area of a polygon in square pixels", "polygons"),
    ]
    for name, values, label, unit in distributions:
        yield f"{name}.png", plot_distribution(values, label, unit)
    yield "findings.png", plot_findings(count(checked.findings, KINDS))


def plot_most_annotated(counts: Sequence[tuple[str, int]]) -> Figure:
    """Show the micrographs with the most islands, given as (name, number): the study's Figure 1."""
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(counts)), layout="constrained")
    axes = figure.subplots()
    names, numbers = [name for name, _ in counts], [number for _, number in counts]
    axes.bar_label(axes.barh(names, numbers, color=BLUE), padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="annotated islands", title="The most annotated micrographs")
    return figure


def plot_findings(counts: Mapping[str, int]) -> Figure:
    """Show how many findings there are of each kind."""
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(counts)), layout="constrained")
    axes = figure.subplots()
    names = [kind.replace("_", " ") for kind in counts]
    axes.bar_label(axes.barh(names, list(counts.values()), color=ORANGE), padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="places to look at", title="Findings in the annotations")
    return figure
