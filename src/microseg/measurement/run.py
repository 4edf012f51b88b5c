"""A run of `microseg segment`: from a folder of micrographs to a folder of results."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version

from microseg.common.files import write_json
from microseg.common.progress import progress
from microseg.common.tables import as_text
from microseg.measurement.correction import change_table, read_earlier
from microseg.measurement.formatting import column_name
from microseg.measurement.intake import InputImage, examine_folder
from microseg.measurement.islands import COLUMNS as ISLAND_COLUMNS
from microseg.measurement.mask_sources import GivenMasks, MaskSource, PredictedMasks
from microseg.measurement.outlines import write_outlines
from microseg.measurement.partial_output import IMAGE_FOLDERS, PartialOutput, check_output, resume_advice
from microseg.measurement.report import write_report
from microseg.measurement.results import Results, refuse_measured_columns
from microseg.measurement.segmentation import Record, RunContext, few_fields_table
from microseg.measurement.settings import Request


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
    source: MaskSource
    if request.masks is None:
        source = PredictedMasks(request, intake)
    else:
        source = GivenMasks(request, request.masks, intake)
    request, intake = source.request, source.intake
    earlier = read_earlier(request.compare_with, request, intake) if request.compare_with else None
    folders = [name for name in IMAGE_FOLDERS if name != "probability" or request.settings.probability]
    with resume_advice(partial_output):
        partial_output.begin(_plan(source), folders, resume=request.resume)
        context = RunContext(request.settings, intake, partial_output)
        results = Results(request, intake, source.model, list(_records(context, source)), earlier)
        results = replace(results, few_fields=few_fields_table(context, results.counted))
        if earlier is not None:
            stems, scaled = [one.stem for one in intake.images], intake.scaled
            changes = change_table(earlier, results.fields, stems, partial_output.folder, scaled=scaled)
            results = replace(results, changes=changes)
        if request.outlines:
            classes = source.model.card.foreground if source.model else request.foreground
            write_outlines(partial_output.folder, intake.images, request.outlines, *(classes or ())[:1])
        _write_tables(partial_output, results)
        partial_output.finish()
    return results


def _plan(source: MaskSource) -> dict[str, object]:
    """Return everything the results depend on: an interrupted run resumes only with the same."""
    intake = source.intake
    return {
        "version": version("microseg"),
        **source.plan,
        **asdict(source.request.settings),
        "valid areas": {image.name: image.valid_area for image in intake.images},
        "micrographs": {image.name: image.sha256 for image in intake.images},
        "pixel sizes": {name: size.micrometres for name, size in intake.pixel_sizes.items()},
    }


def _records(context: RunContext, source: MaskSource) -> Iterator[Record]:
    """Yield the record of every micrograph, in order; those that an interrupted run has left are read."""

    def record_of(image: InputImage) -> Record:
        return context.partial_output.read_record(image.stem) or source.measure(context, image)

    images = context.intake.images
    with source.threads() as threads:
        yield from progress(_in_threads(record_of, images, threads), "measuring", total=len(images))


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
