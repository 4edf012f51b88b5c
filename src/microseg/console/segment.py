"""`microseg segment`: measure the material in a folder of micrographs with a trained model."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Segment every micrograph of a folder with a trained model, measure the islands, and write masks, tables "
        "and a report. Pixel sizes come from --pixel-size, else from --scales, else from the image headers."
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="the folder of a trained model, or URL#revision of a repository that has one",
    )
    _add_prediction_options(parser.add_argument_group("prediction"))
    add_common_options(parser)
    parser.set_defaults(run=_segment)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that do not depend on where masks come from."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="the micrographs: PNG, TIFF, JPEG or BMP; each sub-folder is a specimen",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="OUT", help="folder for the results, new or empty"
    )

    scale = parser.add_argument_group("scale and specimens")
    add_scale_options(scale)
    scale.add_argument(
        "--fields",
        type=Path,
        metavar="TABLE",
        help="a table with the columns image, specimen and any others (default: all of one specimen)",
    )
    _add_measurement_options(parser.add_argument_group("measurement"))
    _add_run_options(parser.add_argument_group("run"))


def _add_measurement_options(group: argparse._ArgumentGroup) -> None:
    add_crop_option(group)
    group.add_argument(
        "--valid-area",
        default="auto",
        metavar="auto|all|MASKS",
        help="measure all but a dark canvas, everything, or where a mask is above 0: one for all micrographs, or "
        "a folder with one of the same name for each (default: %(default)s)",
    )
    group.add_argument(
        "--direction",
        choices=("x", "y", "both"),
        default="both",
        help="direction of the test lines (default: %(default)s)",
    )
    group.add_argument(
        "--min-area",
        default="0px",
        metavar="AREA",
        help="exclude smaller islands, such as 0.1um2 or 20px (default: %(default)s)",
    )


def add_crop_option(parser: argparse._ActionsContainer) -> None:
    """Add what cuts off the information bar."""
    parser.add_argument(
        "--crop-bottom",
        default="0",
        metavar="auto|ROWS",
        help="cut off the information bar: detect it, or cut this many rows (default: %(default)s)",
    )


def add_scale_options(parser: argparse._ActionsContainer) -> None:
    """Add where pixel sizes come from."""
    parser.add_argument(
        "--pixel-size", metavar="LENGTH", help="side of a pixel for all micrographs, such as 0.05um"
    )
    parser.add_argument(
        "--scales", type=Path, metavar="TABLE", help="a table with the columns image, pixel_size and unit"
    )


def _add_prediction_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--method",
        choices=("sigmoid", "morphology"),
        default="sigmoid",
        help="masks from logits: a threshold, or one with opening and closing (default: %(default)s)",
    )
    add_network_options(group)
    group.add_argument("--probability", action="store_true", help="also write probability maps, as 16-bit TIFF")


def add_network_options(parser: argparse._ActionsContainer) -> None:
    """Add how the network sees micrographs."""
    parser.add_argument(
        "--tile-size",
        type=int,
        metavar="PIXELS",
        help="predict in tiles of this side, a multiple of 16, at least 64 (default: tiles for mosaics only)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: average over the eight flips and rotations, 8 times slower",
    )
    parser.add_argument("--symmetries", action=_RenamedOption, const="--tta")
    parser.add_argument(
        "--resample",
        action="store_true",
        help="resample micrographs to the pixel size the model was trained at",
    )


class _RenamedOption(argparse.Action):
    """An option's earlier name, which is refused with its name of today, `const`."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: str) -> None:
        super().__init__(option_strings, dest, nargs=0, const=const, help=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Refuse the option."""
        parser.error(f"{self.option_strings[0]} is called {self.const} now")


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--metrics", type=Path, metavar="FILE", help="also write the summary here, for dvc metrics")
    group.add_argument(
        "--outlines",
        metavar="FORMATS",
        help="also write outlines, as coco (CVAT, Label Studio), labelme, geojson (QuPath) or imagej, or several "
        "with commas",
    )
    group.add_argument(
        "--skip-unreadable", action="store_true", help="leave out images that cannot be read, and list them"
    )
    group.add_argument("--resume", action="store_true", help="continue an interrupted run")
    group.add_argument("--restart", action="store_true", help="remove an interrupted run, even with --resume")


def network_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_network_options`, as `Settings` takes them."""
    from microseg.measurement.settings import check_tile_size

    tile_size = None if parsed.tile_size is None else check_tile_size(parsed.tile_size)
    return {"tile_size": tile_size, "tta": parsed.tta, "resample": parsed.resample}


def pixel_sizes(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_scale_options`, as `Request` takes them."""
    from microseg.micrographs.pixel_size import parse_pixel_size

    size = None if parsed.pixel_size is None else parse_pixel_size(parsed.pixel_size)
    return {"pixel_size": size, "scales": parsed.scales}


def _segment(parsed: argparse.Namespace) -> int:
    settings = {"method": parsed.method, "probability": parsed.probability, **network_settings(parsed)}
    return measure(parsed, settings, model=parsed.model)


def measure(parsed: argparse.Namespace, settings: Mapping[str, Any], **source: Any) -> int:
    """Run the command and print its results.

    Args:
        parsed: the options that commands have in common.
        settings: further ones, as `Settings` takes them.
        source: where masks come from, as `Request` takes it.
    """
    from microseg.common.files import check_writable, write_json
    from microseg.measurement.outlines import parse_formats
    from microseg.measurement.report import headlines
    from microseg.measurement.run import run
    from microseg.measurement.settings import Request, Settings, parse_area, parse_crop

    request = Request(
        folder=parsed.folder,
        output=parsed.output,
        settings=Settings(
            direction=parsed.direction,
            min_area=parse_area(parsed.min_area),
            crop_bottom=parse_crop(parsed.crop_bottom),
            valid_area=parsed.valid_area,
            **settings,
        ),
        fields=parsed.fields,
        outlines=parse_formats(parsed.outlines) if parsed.outlines is not None else (),
        skip_unreadable=parsed.skip_unreadable,
        resume=parsed.resume and not parsed.restart,
        restart=parsed.restart,
        **pixel_sizes(parsed),
        **source,
    )
    if parsed.metrics:
        check_writable(parsed.metrics)
    results = run(request)
    if parsed.metrics:
        write_json(parsed.metrics, results.summary())
    for line in headlines(results):
        print(f"{line['specimen']}: {line['text']}")
    print("Written:", parsed.output / "report.html")
    return 0
