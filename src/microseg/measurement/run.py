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
from microseg.measurement.model import UsedModel, evaluated_settings, open_model, read_evaluation, scale_factor
from microseg.measurement.outlines import write_outlines
from microseg.measurement.partial_output import IMAGE_FOLDERS, PartialOutput, check_output, resume_advice
from microseg.measurement.report import write_report
from microseg.measurement.results import Results, refuse_measured_columns
from microseg.measurement.segmentation import Record, RunContext
from microseg.measurement.settings import Request
from microseg.network.image_statistics import read_image_statistics

if TYPE_CHECKING:
    from microseg.measurement.predictor import Predictor


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
        known = read_image_statistics(folder), read_evaluation(folder)
        model = UsedModel(request.model, predictor.card, predictor.environment, *known)
    request = replace(request, settings=evaluated_settings(request.settings, model.card, model.evaluation))
    model_um = model.pixel_size.micrometres if model.pixel_size else None
    factors = {
        one.name: scale_factor(
            model_um, one.name, intake.pixel_size_um(one.name), resample=request.settings.resample
        )
        for one in intake.images
    }
    plan = _plan(request, intake, model)
    folders = [name for name in IMAGE_FOLDERS if name != "probability" or request.settings.probability]
    with resume_advice(partial_output):
        partial_output.begin(plan, folders, resume=request.resume)
        context = RunContext(request.settings, intake, model.statistics, partial_output)
        results = Results(request, intake, model, list(_records(context, predictor, factors)))
        if request.outlines:
            write_outlines(partial_output.folder, intake.images, request.outlines)
        _write_tables(partial_output, results)
        partial_output.finish()
    return results


def _plan(request: Request, intake: Intake, model: UsedModel) -> dict[str, object]:
    """Return everything the results depend on: an interrupted run resumes only with the same."""
    return {
        "version": version("microseg"),
        "environment": model.environment,
        "model": asdict(model.card),
        "image statistics of the training": model.statistics and asdict(model.statistics),
        **asdict(request.settings),
        "valid areas": {image.name: image.valid_area for image in intake.images},
        "micrographs": {image.name: image.sha256 for image in intake.images},
        "pixel sizes": {name: size.micrometres for name, size in intake.pixel_sizes.items()},
    }


def _records(context: RunContext, predictor: "Predictor", factors: Mapping[str, float]) -> Iterator[Record]:
    """Yield the record of every micrograph, in order; those that an interrupted run has left are read."""

    def record_of(image: InputImage) -> Record:
        record = context.partial_output.read_record(image.stem)
        if record is None:
            micrograph = context.read(image)
            logits = predictor.logits(micrograph.grey, factors[image.name], micrograph.valid)
            record = context.measure(image, micrograph, logits)
        return record

    images = context.intake.images
    largest = max(image.height * image.width * max(1.0, factors[image.name]) ** 2 for image in images)
    # A thread takes a micrograph from its file to its record, so that cores keep predicting while others write.
    with predictor.share_cores(largest) as threads:
        yield from progress(_in_threads(record_of, images, threads), "segmenting", total=len(images))


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
    for name, table in results.tables.items():
        texts = table.select_dtypes(exclude=["number", "bool"]).map(as_text)
        named = table.assign(**texts).rename(columns=as_text)
        named.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    write_json(folder / "summary.json", results.summary())
    write_json(folder / "provenance.json", results.provenance())
    write_report(folder / "report.html", results, folder / "islands.csv")
