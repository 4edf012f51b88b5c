"""From a folder of logits to a folder of masks for each method, on all cores."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from microseg.common.files import output_folder
from microseg.common.parallel import map_in_processes
from microseg.common.params import PostprocessParams
from microseg.micrographs.images import write_mask
from microseg.prediction.logits import read_logits
from microseg.prediction.postprocessing import METHODS, morphological_mask, sigmoid_mask


def write_masks(images: Sequence[str], logits: Path, folder: Path, params: PostprocessParams) -> None:
    """Write the masks of `images` into `folder`, in a folder for each of METHODS, from their logits in `logits`.

    Raises:
        InputError: logits are missing or broken.
    """
    with output_folder(folder) as partial_folder:
        for method in METHODS:
            (partial_folder / method).mkdir()
        for _ in map_in_processes(
            partial(_write_both, logits, partial_folder, params), images, "masks from logits"
        ):
            pass


def _write_both(logits_folder: Path, folder: Path, params: PostprocessParams, image: str) -> None:
    logits = read_logits(logits_folder, image)
    masks = {
        "sigmoid": sigmoid_mask(logits, params.sigmoid_threshold),
        "morphology": morphological_mask(
            logits, params.morphology_threshold, params.opening_radius, params.closing_radius
        ),
    }
    for method, mask in masks.items():
        write_mask(folder / method / image, mask)
