"""A run of `microseg segment`: from a folder of micrographs to a folder of results."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from microseg.common.files import write_json
from microseg.common.progress import progress
from microseg.common.tables import as_text
from microseg.measurement.formatting import column_name
from microseg.measurement.intake import InputImage, Intake, examine_folder
from microseg.measurement.islands import COLUMNS as ISLAND_COLUMNS
from microseg.measurement.model import (
    evaluated_settings,
    open_model,
    pixel_size_of_training,
    read_evaluation,
    scale_factor,
)
from microseg.measurement.partial_output import IMAGE_FOLDERS, PartialOutput, check_output, resume_advice
from microseg.measurement.report import write_report
from microseg.measurement.results import Results, refuse_measured_columns
from microseg.measurement.segmentation import Record, RunContext
from microseg.measurement.settings import Request
from microseg.network.image_statistics import ImageStatistics, read_image_statistics

if TYPE_CHECKING:
    from microseg.measurement.predictor import Predictor

RELEASE_MEMORY_EVERY = 100
"""Micrographs after which freed memory returns to the system: taking it again costs as much as two or three."""


def run(request: Request) -> Results:
    """Segment and measure every micrograph of a folder, and write all results.

    All images are read once before the first is segmented, so that a corrupt one is found at the start. The output
    folder appears once it is complete.

    Raises:
        InputError: the request cannot be fulfilled: a wrong folder, image, table, model or setting.
    """
    check_output(request.output, request.folder)
    partial_output = PartialOutput(request.output)
    with partial_output.lock():
        if not (request.resume or request.restart):
            partial_output.refuse_unfinished()
        return _run(request, partial_output)


def _run(request: Request, partial_output: PartialOutput) -> Results:
    intake = examine_folder(request)
    refuse_measured_columns(request, intake)
    with open_model(request.model) as folder:
        # Importing torch takes seconds; mistakes up to here are reported without it.
        from microseg.measurement.predictor import Predictor

        predictor = Predictor(folder, request.settings)
        training_statistics, evaluation = read_image_statistics(folder), read_evaluation(folder)
    request = replace(request, settings=evaluated_settings(request.settings, predictor.card, evaluation))
    training_pixel_size = pixel_size_of_training(training_statistics, predictor.card)
    factors = _scale_factors(request, intake, training_pixel_size.micrometres if training_pixel_size else None)
    plan = _plan(request, intake, predictor, training_statistics)
    folders = [name for name in IMAGE_FOLDERS if name != "probability" or request.settings.probability]
    with resume_advice(partial_output):
        partial_output.begin(plan, folders, resume=request.resume)
        context = RunContext(request.settings, intake, training_statistics, partial_output)
        records = list(_records(context, predictor, factors))
        results = Results(
            request=request,
            intake=intake,
            model=asdict(predictor.card),
            environment=predictor.environment,
            compared_with_training=training_statistics is not None,
            training_pixel_size=training_pixel_size,
            evaluation=evaluation,
            records=records,
        )
        _write_tables(partial_output, results)
        partial_output.finish()
    return results


def _scale_factors(request: Request, intake: Intake, model_um: float | None) -> dict[str, float]:
    """Return the factor by which each micrograph is enlarged before the network sees it."""
    return {
        image.name: scale_factor(
            model_um, image.name, intake.pixel_size_um(image.name), resample=request.settings.resample
        )
        for image in intake.images
    }


def _plan(
    request: Request, intake: Intake, predictor: "Predictor", training_statistics: ImageStatistics | None
) -> dict[str, object]:
    """Return everything the results depend on: an interrupted run resumes only with the same."""
    return {
        "version": version("microseg"),
        "environment": predictor.environment,
        "model": asdict(predictor.card),
        "image statistics of the training": training_statistics and asdict(training_statistics),
        "settings": asdict(request.settings),
        "micrographs": {image.name: image.sha256 for image in intake.images},
        "pixel sizes": {name: size.micrometres for name, size in intake.pixel_sizes.items()},
    }


def _records(context: RunContext, predictor: "Predictor", factors: Mapping[str, float]) -> Iterator[Record]:
    """Yield the record of every micrograph, in order; those that an interrupted run has left are read."""

    def record_of(image: InputImage) -> Record:
        record = context.partial_output.read_record(image.stem)
        if record is None:
            micrograph, bar, valid = context.read(image)
            logits = predictor.logits(micrograph, factors[image.name], valid)
            record = context.measure(image, micrograph, bar, valid, logits)
        return record

    images = context.intake.images
    largest = max(image.height * image.width * max(1.0, factors[image.name]) ** 2 for image in images)
    # A thread takes a micrograph from its file to its record, so that cores keep predicting while others write.
    with predictor.share_cores(largest) as threads:
        records = _in_threads(record_of, images, threads)
        for number, record in enumerate(progress(records, "segmenting", total=len(images)), 1):
            yield record
            # Freed memory is fragmented; if it were kept, it would grow with the number of micrographs.
            if number % RELEASE_MEMORY_EVERY == 0:
                predictor.release_memory()


def _in_threads(
    work: Callable[[InputImage], Record], images: Sequence[InputImage], threads: int
) -> Iterator[Record]:
    if threads == 1:
        yield from map(work, images)  # in this thread, Ctrl-C does not wait for the end of a mosaic
        return
    waiting: deque[Future[Record]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for image in images:
            waiting.append(pool.submit(work, image))
            # A longer queue would still be worked off after an error or Ctrl-C.
            if len(waiting) > threads:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _write_tables(partial_output: PartialOutput, results: Results) -> None:
    """Write the tables, summaries and report of a run into its working folder."""
    folder, intake = partial_output.folder, results.intake
    header = ("image", *(column_name(column, scaled=intake.scaled) for column in ISLAND_COLUMNS))
    stems = [image.stem for image in intake.images]
    partial_output.join_islands(",".join(header) + "\n", stems, folder / "islands.csv")
    tables = {"fields": results.fields, "specimens": results.specimens, "differences": results.differences}
    for name, table in tables.items():
        if table.empty:
            continue
        texts = table.select_dtypes(exclude=["number", "bool"]).map(as_text)
        table.assign(**texts).rename(columns=as_text).to_csv(
            folder / f"{name}.csv", index=False, lineterminator="\n"
        )
    write_json(folder / "summary.json", results.summary())
    write_json(folder / "provenance.json", results.provenance())
    write_report(folder / "report.html", results, folder / "islands.csv")
