"""Which micrographs to correct next: those that the network is least sure of, and a random sample.

To correct the worst first teaches the network most (uncertainty sampling: Lewis and Gale, SIGIR 1994,
arXiv:cmp-lg/9407020), but says nothing of the rest. The error of a model on a material is estimated from a simple
random sample (`measurement.difference_estimator`), which is therefore drawn from all micrographs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields

from microseg.common.errors import InputError
from microseg.common.files import write_csv
from microseg.common.progress import progress
from microseg.common.randomness import generator
from microseg.measurement.intake import Intake, examine_folder
from microseg.measurement.mask_sources import PredictedMasks
from microseg.measurement.partial_output import PartialOutput
from microseg.measurement.segmentation import RunContext
from microseg.measurement.settings import Request
from microseg.prediction.reliability import mean_entropy


@dataclass(frozen=True)
class Selected:
    """A micrograph to correct, and why."""

    image: str
    reason: str
    """uncertain or random."""
    uncertainty: float
    """Mean entropy of the calibrated probabilities of its pixels, in bits, 0 to 1."""
    rank: int
    """Its place among all micrographs, the most uncertain being 1."""


def select(uncertainty: Mapping[str, float], count: int, sample: int, seed: int) -> list[Selected]:
    """Return a simple random sample of micrographs, and before it the `count` most uncertain of the others."""
    ranked = sorted(uncertainty, key=lambda image: (-uncertainty[image], image))
    drawn = generator(seed, "next").choice(sorted(uncertainty), sample, replace=False).tolist()
    worst = [image for image in ranked if image not in drawn][:count]
    return [
        Selected(image, reason, uncertainty[image], ranked.index(image) + 1)
        for reason, images in (("uncertain", worst), ("random", drawn))
        for image in images
    ]


def write_next(request: Request, count: int, sample: int, seed: int) -> list[Selected]:
    """Select micrographs of a folder and write them to the table `request.output`.

    Raises:
        InputError: the table exists already, the folder has too few micrographs, or the request is wrong.
    """
    if request.output.exists():
        raise InputError(f"{request.output}: already exists; give another --output, or remove it")
    intake = examine_folder(request)
    if count + sample > len(intake.images):
        raise InputError(
            f"{request.folder}: has {len(intake.images)} micrographs, fewer than the {count} uncertain and "
            f"{sample} random ones asked for; lower --count or --random"
        )
    selected = select(dict(_uncertainty(request, intake)), count, sample, seed)
    write_csv(request.output, [field.name for field in fields(Selected)], map(astuple, selected))
    return selected


def _uncertainty(request: Request, intake: Intake) -> Iterator[tuple[str, float]]:
    """Yield the uncertainty of every micrograph, where it shows the specimen."""
    source = PredictedMasks(request, intake)
    context = RunContext(source.request.settings, intake, PartialOutput(request.output))
    for image in progress(intake.images, "measuring uncertainty"):
        micrograph = context.read(image)
        specimen = 1.0 if micrograph.valid is None else float(micrograph.valid.mean())
        yield image.name, mean_entropy(source.logits(image, micrograph)) / specimen
