"""Turn the table of annotations into polygons, and report its contents and its issues."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging

from microseg.annotations.figures import annotation_figures
from microseg.annotations.issues import refuse_emptiness, refuse_invalid, write_issues
from microseg.annotations.polygons import scan_annotations, write_polygons
from microseg.annotations.quality import annotation_metrics, annotation_tables, check_annotations
from microseg.annotations.review import reviewed
from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_csv, write_json
from microseg.common.params import Params
from microseg.micrographs.images import image_sizes
from microseg.micrographs.line_map import read_line_map
from microseg.micrographs.metadata import read_metadata
from microseg.plotting import save_figure


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the polygons, the counts, the list of issues and the plots."""
    table = arguments.raw / "annotations.csv"
    line_map = read_line_map(table)
    masks, unusable = scan_annotations(table, line_map)
    masks, line_map = reviewed(masks, unusable, table, line_map)
    about = arguments.raw / "metadata.csv"
    metadata = read_metadata(about) if about.is_file() else None
    sizes = image_sizes(arguments.raw / "images")
    checked = check_annotations(masks, unusable, sizes, metadata)
    refuse_invalid(checked.issues, params.parse_csv.on_invalid, line_map)
    refuse_emptiness(checked.masks, line_map)
    metrics = annotation_metrics(checked)
    logging.info("%d polygons on %d micrographs", metrics["polygons"], metrics["images"])
    write_polygons(arguments.polygons, checked.masks)
    write_json(arguments.metrics, metrics)
    write_issues(arguments.findings, checked.issues, line_map.source)
    # Beside the metrics: `dvc plots` would show every table in the folder of plots.
    with output_folder(arguments.metrics.with_name(f"{arguments.metrics.stem}_tables")) as folder:
        for name, header, rows in annotation_tables(checked, metadata or {}):
            write_csv(folder / name, header, rows)
    with output_folder(arguments.plots) as folder:
        for name, figure in annotation_figures(checked):
            save_figure(figure, folder / name)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "raw": "the raw dataset, data/raw",
            "polygons": "the polygons to write, data/polygons.jsonl",
            "metrics": "the counts to write, reports/annotations.json; tables go into reports/annotations_tables",
            "findings": "the list of issues to write, reports/annotation_issues.csv",
            "plots": "the folder of plots to write, plots/annotations",
        },
    )
