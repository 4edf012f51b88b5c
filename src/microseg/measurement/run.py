"""From a folder of micrographs to a folder of results: the way of `microseg segment`."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from microseg.common.files import write_json
from microseg.common.progress import progress
from microseg.measurement.intake import take_in
from microseg.measurement.islands import COLUMNS as ISLAND_COLUMNS
from microseg.measurement.model_folder import opened_model, read_evaluation
from microseg.measurement.model_world import scale_factor
from microseg.measurement.one_micrograph import Record, Workplace
from microseg.measurement.report import write_report
from microseg.measurement.results import Results
from microseg.measurement.settings import Request
from microseg.measurement.unfinished import PICTURE_FOLDERS, Unfinished, advice_on_going_on, check_output
from microseg.measurement.units import column_name

if TYPE_CHECKING:
    from microseg.measurement.predictor import Predictor

# One micrograph is measured while the network is at the next one; more in waiting would only take memory.
WAITING = 2


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
        from microseg.network.appearance import read_appearance

        predictor = Predictor(folder, request.settings)
        appearance, evaluation = read_appearance(folder), read_evaluation(folder)
    factors = {
        picture.name: scale_factor(
            predictor.pixel_size_um,
            picture.name,
            intake.pixel_size_um(picture.name),
            resample=request.settings.resample,
        )
        for picture in intake.pictures
    }
    unfinished = Unfinished(request.output)
    plan = {
        "settings": asdict(request.settings),
        "model": predictor.card.weights_sha256,
        "micrographs": {picture.name: picture.sha256 for picture in intake.pictures},
        "pixel sizes": {name: size.micrometres for name, size in intake.pixel_sizes.items()},
    }
    folders = [name for name in PICTURE_FOLDERS if name != "probability" or request.settings.probability]
    with advice_on_going_on(unfinished):
        unfinished.begin(plan, folders, resume=request.resume)
        workplace = Workplace(request.settings, intake, appearance, unfinished)
        records = list(_records(workplace, predictor, factors))
        results = Results(
            request=request,
            intake=intake,
            model=asdict(predictor.card),
            computed_with=predictor.computed_with,
            compared_with_training=appearance is not None,
            evaluation=evaluation,
            records=records,
        )
        _write(unfinished, results)
        unfinished.finish()
    return results


def _records(workplace: Workplace, predictor: "Predictor", factors: Mapping[str, float]) -> Iterator[Record]:
    """Yield the record of every micrograph, in order; those of an interrupted run as they are."""
    waiting: deque[Record | Future[Record]] = deque()
    with ThreadPoolExecutor(1) as measuring:
        for picture in progress(workplace.intake.pictures, "segmenting"):
            record = workplace.unfinished.record(picture.stem)
            if record is not None:
                waiting.append(record)
            else:
                micrograph, bar = workplace.read(picture)
                logits = predictor.logits(micrograph, factors[picture.name])
                waiting.append(measuring.submit(workplace.finish, picture, micrograph, bar, logits))
            while len(waiting) >= WAITING:
                yield _done(waiting.popleft())
        yield from map(_done, waiting)


def _done(work: "Record | Future[Record]") -> Record:
    return work.result() if isinstance(work, Future) else work


def _write(unfinished: Unfinished, results: Results) -> None:
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
