"""From a folder of micrographs to a folder of results: the way of `microseg segment`."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from microseg.common.files import write_json
from microseg.common.progress import progress
from microseg.measurement.formatting import column_name
from microseg.measurement.intake import Intake, Picture, take_in
from microseg.measurement.islands import COLUMNS as ISLAND_COLUMNS
from microseg.measurement.model import opened_model, read_evaluation, scale_factor
from microseg.measurement.partial_output import PICTURE_FOLDERS, PartialOutput, check_output, resume_advice
from microseg.measurement.report import write_report
from microseg.measurement.results import Results
from microseg.measurement.segmentation import Record, Workplace
from microseg.measurement.settings import Request
from microseg.network.image_statistics import read_image_statistics

if TYPE_CHECKING:
    from microseg.measurement.predictor import Predictor

GIVE_BACK_EVERY = 100
"""Micrographs after which freed memory goes back to the system: retaking it costs the time of two or three."""


def run(request: Request) -> Results:
    """Segment and measure every micrograph of a folder, and write all results.

    Raises:
        InputError: something that was given cannot be used. Before the first micrograph is segmented all of them
            have been read once, so that a corrupt one is found at the start; the output folder is not there then.
    """
    check_output(request.output, request.folder)
    intake = take_in(request)
    with opened_model(request.model) as folder:
        # Importing torch takes seconds, which wrong arguments need not wait for.
        from microseg.measurement.predictor import Predictor

        predictor = Predictor(folder, request.settings)
        appearance, evaluation = read_image_statistics(folder), read_evaluation(folder)
    factors = _scale_factors(request, intake, predictor.pixel_size_um)
    unfinished = PartialOutput(request.output)
    plan = _plan(request, intake, predictor.card.weights_sha256)
    folders = [name for name in PICTURE_FOLDERS if name != "probability" or request.settings.probability]
    with resume_advice(unfinished):
        unfinished.begin(plan, folders, resume=request.resume)
        workplace = Workplace(request.settings, intake, appearance, unfinished)
        records = list(_records(workplace, predictor, factors))
        results = Results(
            request=request,
            intake=intake,
            model=asdict(predictor.card),
            environment=predictor.environment,
            compared_with_training=appearance is not None,
            evaluation=evaluation,
            records=records,
        )
        _write(unfinished, results)
        unfinished.finish()
    return results


def _scale_factors(request: Request, intake: Intake, model_um: float | None) -> dict[str, float]:
    """Return by how much each micrograph is enlarged before the network sees it."""
    return {
        picture.name: scale_factor(
            model_um, picture.name, intake.pixel_size_um(picture.name), resample=request.settings.resample
        )
        for picture in intake.pictures
    }


def _plan(request: Request, intake: Intake, weights_sha256: str) -> dict[str, object]:
    """Return all that the results follow from: an interrupted run goes on only with the same."""
    return {
        "settings": asdict(request.settings),
        "model": weights_sha256,
        "micrographs": {picture.name: picture.sha256 for picture in intake.pictures},
        "pixel sizes": {name: size.micrometres for name, size in intake.pixel_sizes.items()},
    }


def _records(workplace: Workplace, predictor: "Predictor", factors: Mapping[str, float]) -> Iterator[Record]:
    """Yield the record of every micrograph, in order; those of an interrupted run as they are."""

    def record_of(picture: Picture) -> Record:
        record = workplace.unfinished.record(picture.stem)
        if record is None:
            micrograph, bar = workplace.read(picture)
            logits = predictor.logits(micrograph, factors[picture.name])
            record = workplace.finish(picture, micrograph, bar, logits)
        return record

    pictures = workplace.intake.pictures
    largest = max(picture.height * picture.width * max(1.0, factors[picture.name]) ** 2 for picture in pictures)
    # Each core takes a micrograph from its file to its record: none waits while others measure and write.
    with predictor.cores_shared(largest) as at_once:
        done = progress(_in_threads(record_of, pictures, at_once), "segmenting", total=len(pictures))
        for number, record in enumerate(done, 1):
            yield record
            # In scattered gaps, freed memory that is kept would grow with the number of micrographs.
            if number % GIVE_BACK_EVERY == 0:
                predictor.give_back_memory()


def _in_threads(work: Callable[[Picture], Record], pictures: Sequence[Picture], at_once: int) -> Iterator[Record]:
    if at_once == 1:
        yield from map(work, pictures)  # in this thread Ctrl-C need not wait for the end of a mosaic
        return
    waiting: deque[Future[Record]] = deque()
    with ThreadPoolExecutor(at_once) as threads:
        for picture in pictures:
            waiting.append(threads.submit(work, picture))
            # What more were in waiting would still be done after an error or Ctrl-C.
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _write(unfinished: PartialOutput, results: Results) -> None:
    """Write the tables and summaries of a run into its working folder."""
    folder, intake = unfinished.folder, results.intake
    columns = ("image", *(column_name(column, scaled=intake.scaled) for column in ISLAND_COLUMNS))
    stems = [picture.stem for picture in intake.pictures]
    unfinished.join_islands(",".join(columns) + "\n", stems, folder / "islands.csv")
    results.fields.to_csv(folder / "fields.csv", index=False)
    results.specimens.to_csv(folder / "specimens.csv", index=False)
    write_json(folder / "summary.json", results.summary())
    write_json(folder / "provenance.json", results.provenance())
    write_report(folder / "report.html", results, folder / "islands.csv")
