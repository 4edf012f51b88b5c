"""Where the masks of a run come from: a model's network, or the user who drew or corrected them."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from microseg.common.errors import InputError
from microseg.measurement.intake import InputImage, Intake
from microseg.measurement.model import UsedModel, evaluated_settings, open_model, read_evaluation, scale_factor
from microseg.measurement.segmentation import (
    Micrograph,
    Record,
    RunContext,
    measure_mask,
    segment,
    training_warnings,
)
from microseg.measurement.settings import Request
from microseg.micrographs.images import pixel_digest
from microseg.network.image_statistics import read_image_statistics
from microseg.prediction.logits import Logits
from microseg.sources.any_form import read_masks
from microseg.sources.pairing import Micrographs


class PredictedMasks:
    """Masks from the logits of a trained model.

    Attributes:
        request: the run, with the settings that its model was evaluated with.
        intake: the micrographs.
        model: what is known of the model.
        plan: what the masks depend on, beside settings and micrographs.
    """

    def __init__(self, request: Request, intake: Intake) -> None:
        with open_model(request.model) as folder:
            # Importing torch takes seconds; mistakes up to here are reported without it.
            from microseg.measurement.predictor import Predictor

            self._predictor = Predictor(folder, request.settings)
            known = read_image_statistics(folder), read_evaluation(folder)
            self.model = UsedModel(request.model, self._predictor.card, self._predictor.environment, *known)
        settings = evaluated_settings(request.settings, self.model.card, self.model.evaluation)
        self.request, self.intake = replace(request, settings=settings), intake
        model_um = self.model.pixel_size.micrometres if self.model.pixel_size else None
        self._factors = {
            one.name: scale_factor(model_um, one.name, intake.pixel_size_um(one.name), resample=settings.resample)
            for one in intake.images
        }
        statistics = self.model.statistics
        self.plan = {
            "environment": self.model.environment,
            "model": asdict(self.model.card),
            "image statistics of the training": statistics and asdict(statistics),
        }

    def measure(self, context: RunContext, image: InputImage) -> Record:
        """Segment and measure a micrograph."""
        micrograph = context.read(image)
        logits = self.logits(image, micrograph)
        warnings = training_warnings(micrograph, logits, self.model.statistics)
        found = segment(logits, context.settings, micrograph.smallest_area, micrograph.valid)
        return context.record(image, micrograph, found, logits, warnings)

    def logits(self, image: InputImage, micrograph: Micrograph) -> Logits:
        """Return the logits of a micrograph, (height, width)."""
        return self._predictor.logits(micrograph.grey, self._factors[image.name], micrograph.valid)

    def threads(self) -> AbstractContextManager[int]:
        """Share the cores: each thread takes a micrograph from its file to its record, while others predict."""
        factors = ((one, max(1.0, self._factors[one.name])) for one in self.intake.images)
        return self._predictor.share_cores(max(one.height * one.width * factor**2 for one, factor in factors))


class GivenMasks:
    """Masks that the user gives, of all micrographs or of some; `intake` has only these, and there is no model."""

    model = None

    def __init__(self, request: Request, masks: Path, intake: Intake) -> None:
        sizes = {one.name: (one.height, one.width) for one in intake.images}
        # No picture that is not there is called so.
        new_names = {one.name: f"{number}-{one.sha256}.png" for number, one in enumerate(intake.images)}
        bars = {one.name: one.bar for one in intake.images}
        micrographs = Micrographs(sizes, new_names, bars, are_given=True)
        self._masks = read_masks(masks, micrographs, request.foreground, request.mask_suffix)
        images = [one for one in intake.images if one.name in self._masks]
        if not images:
            raise InputError(f"{masks}: holds no mask of a micrograph in {request.folder}; add one")
        self.request, self.intake = request, replace(intake, images=images)
        self.plan = {"masks": {one.name: pixel_digest(self._masks[one.name]().view("uint8")) for one in images}}

    def measure(self, context: RunContext, image: InputImage) -> Record:
        """Measure a micrograph."""
        micrograph, mask = context.read(image), self._masks[image.name]()
        found = measure_mask(mask, context.settings, micrograph.smallest_area, micrograph.valid)
        return context.record(image, micrograph, found)

    def threads(self) -> AbstractContextManager[int]:
        """Measure one micrograph after the other."""
        return nullcontext(1)


MaskSource = PredictedMasks | GivenMasks
