"""Draw the polygons of every annotated micrograph as a binary mask of the micrograph's own size."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging

from microseg.annotations.issues import write_issues
from microseg.annotations.masks import mask_metrics, rasterize_masks
from microseg.annotations.polygons import read_polygons
from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_csv, write_json
from microseg.common.params import Params
from microseg.common.randomness import generator
from microseg.micrographs.images import read_micrograph


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the masks, the counts, the foreground fraction of each mask, and figures of a random sample."""
    # Not at the top: the processes that draw masks import this file too, and none of them needs matplotlib.
    from microseg.annotations.figures import mask_figures
    from microseg.plotting import save_figure

    polygons = read_polygons(arguments.polygons)
    with output_folder(arguments.masks) as folder:
        summaries = list(rasterize_masks(polygons, arguments.images, folder))
    metrics = mask_metrics(summaries)
    logging.info("%d masks, %.1f %% foreground", len(summaries), 100 * metrics["foreground_fraction"]["mean"])
    write_json(arguments.metrics, metrics)
    sources = {polygon.line: polygon.source for mask in polygons for polygon in mask.polygons}
    overlaps = [issue for summary in summaries for issue in summary.overlaps]
    write_issues(arguments.findings, overlaps, sources.get)
    annotated = [mask for mask in polygons if len(mask)]
    order = generator(params.seed, "examples").permutation(len(annotated))
    examples = [annotated[index] for index in order[: params.rasterize_masks.examples]]
    fractions = [summary.foreground_fraction for summary in summaries]
    # Beside the metrics: `dvc plots` would show every table in the folder of plots.
    with output_folder(arguments.metrics.with_name(f"{arguments.metrics.stem}_tables")) as folder:
        rows = zip([summary.image for summary in summaries], fractions, strict=True)
        write_csv(folder / "foreground_fraction.csv", ("image", "foreground_fraction"), rows)
    with output_folder(arguments.plots) as folder:
        for name, figure in mask_figures(
            examples, fractions, lambda name: read_micrograph(arguments.images / name)
        ):
            save_figure(figure, folder / name)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "images": "the folder of micrographs, data/raw/images",
            "polygons": "the polygons, data/polygons.jsonl",
            "masks": "the folder of masks to write, data/masks",
            "metrics": "the counts to write, reports/masks.json; tables go into reports/masks_tables",
            "findings": "the list of issues to write, reports/mask_issues.csv",
            "plots": "the folder of plots to write, plots/masks",
        },
    )
