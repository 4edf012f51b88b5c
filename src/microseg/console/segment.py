"""`microseg segment`: from a folder of unlabelled micrographs to a measured answer about the material."""

import argparse
from pathlib import Path


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = (
        "Segment every micrograph of a folder with a trained model, measure the islands, and write masks, tables "
        "and a report. Pixel sizes come from --pixel-size, else from --scales, else from the headers of the files."
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="the micrographs: PNG, TIFF, JPEG; sub-folders too"
    )
    parser.add_argument(
        "--model", required=True, help="a model's folder, or URL#revision of a repository that has one"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="OUT", help="the folder to write, new or empty"
    )
    _define_scale(parser.add_argument_group("scale and specimens"))
    _define_measuring(parser.add_argument_group("measuring"))
    _define_network(parser.add_argument_group("network"))
    _define_run(parser.add_argument_group("the run"))
    parser.set_defaults(run=_segment)


def _define_scale(scale: argparse._ArgumentGroup) -> None:
    scale.add_argument(
        "--pixel-size", metavar="LENGTH", help="side of a pixel, such as 0.05um, for all micrographs"
    )
    scale.add_argument("--scales", type=Path, metavar="TABLE", help="a table with image, pixel_size and unit")
    scale.add_argument(
        "--fields", type=Path, metavar="TABLE", help="a table with image, specimen, and more if you like"
    )


def _define_measuring(measuring: argparse._ArgumentGroup) -> None:
    measuring.add_argument(
        "--crop-bottom",
        default="0",
        metavar="auto|ROWS",
        help="cut the information bar off: found by itself, or so many rows (default: nothing)",
    )
    measuring.add_argument(
        "--direction",
        choices=("x", "y", "both"),
        default="both",
        help="along which the test lines run (default: %(default)s)",
    )
    measuring.add_argument(
        "--min-area", default="0px", metavar="AREA", help="leave smaller islands out, such as 0.1um2 or 20px"
    )
    measuring.add_argument(
        "--method",
        choices=("sigmoid", "morphology"),
        default="sigmoid",
        help="masks from logits: sigmoid > 0.5; or Otsu's threshold, opening, closing (default: %(default)s)",
    )


def _define_network(network: argparse._ArgumentGroup) -> None:
    network.add_argument(
        "--tile-size",
        type=int,
        help="predict in tiles of so many pixels a side, a multiple of 16 (default: mosaics only)",
    )
    network.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: average over the eight flips and rotations, 8 times slower",
    )
    network.add_argument(
        "--resample", action="store_true", help="bring micrographs to the pixel size of the model's training"
    )


def _define_run(run: argparse._ArgumentGroup) -> None:
    run.add_argument("--metrics", type=Path, metavar="FILE", help="write the summary there too, for dvc metrics")
    run.add_argument("--probability", action="store_true", help="write the probabilities too, as 16-bit TIFF")
    run.add_argument("--skip-unreadable", action="store_true", help="leave out what cannot be read, and list it")
    run.add_argument("--resume", action="store_true", help="go on with an interrupted run")


def _segment(parsed: argparse.Namespace) -> int:
    from microseg.common.files import write_json
    from microseg.measurement.report import headlines
    from microseg.measurement.run import run
    from microseg.measurement.settings import Request, Settings, check_tile_size, parse_area, parse_crop
    from microseg.micrographs.pixel_size import parse_pixel_size

    settings = Settings(
        method=parsed.method,
        direction=parsed.direction,
        min_area=parse_area(parsed.min_area),
        crop_bottom=parse_crop(parsed.crop_bottom),
        tile_size=None if parsed.tile_size is None else check_tile_size(parsed.tile_size),
        tta=parsed.tta,
        resample=parsed.resample,
        probability=parsed.probability,
    )
    request = Request(
        folder=parsed.folder,
        model=parsed.model,
        output=parsed.output,
        settings=settings,
        pixel_size=parse_pixel_size(parsed.pixel_size) if parsed.pixel_size is not None else None,
        scales=parsed.scales,
        fields=parsed.fields,
        skip_unreadable=parsed.skip_unreadable,
        resume=parsed.resume,
    )
    results = run(request)
    if parsed.metrics:
        write_json(parsed.metrics, results.summary())
    for line in headlines(results):
        print(f"{line['specimen']}: {line['text']}")
    print("Written:", parsed.output / "report.html")
    return 0
