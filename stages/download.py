"""Write micrographs and their annotations as a raw dataset: synthetic, from a folder, or published."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
from pathlib import Path

from microseg.annotations.review import copy_review
from microseg.common.command import run_stage
from microseg.common.files import output_folder
from microseg.common.params import DownloadParams, Params


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the raw dataset of the chosen source."""
    with output_folder(arguments.output) as raw:
        write_dataset(raw, arguments.folder, params.download, params.seed)
        copy_review(arguments.folder, raw)


def write_dataset(raw: Path, folder: Path, download: DownloadParams, seed: int) -> None:
    """Fill the empty folder `raw`; only the chosen source is imported."""
    match download.source:
        case "synthetic":
            from microseg.sources.synthetic import write_synthetic

            write_synthetic(raw, download.synthetic, seed)
        case "folder":
            from microseg.sources.folder import annotated_folders, write_folder
            from microseg.sources.tracked import require_tracked

            for one in dict.fromkeys([folder, *annotated_folders(folder)]):
                require_tracked(one)
            write_folder(raw, folder, download.crop_bottom, download.foreground, download.mask_suffix)
        case "published":
            from microseg.sources.published import write_published

            write_published(raw, download.mirrors, download.manual_dir)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "folder": "for source folder: the folder of your own micrographs (download.path)",
            "output": "the raw dataset to write, data/raw",
        },
    )
