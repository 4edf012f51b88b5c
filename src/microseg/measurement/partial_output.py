"""Results on their way: collected beside the output folder, and put in its place when all of them are there."""

import errno
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microseg.common.errors import InputError
from microseg.common.files import output_file, remove, write_json

PICTURE_FOLDERS = ("masks", "overlays", "labels", "probability")
PLAN, RECORDS = "plan.json", "records"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


def check_output(output: Path, folder: Path) -> None:
    """Raise an InputError where results cannot go to `output`: it has something in it, or lies in `folder`."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"{output}: is there already and not empty; give a new folder, or empty it")
    if folder.resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(
            f"{output}: lies in the folder of the micrographs; results would be taken for micrographs"
        )


class PartialOutput:
    """The working folder of a run, with a record of every micrograph that is done."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.resolve().with_name(f".{output.resolve().name}.partial")
        self._work = self.folder / ".work"

    def begin(self, plan: Mapping[str, Any], folders: Sequence[str], *, resume: bool) -> None:
        """Make the working folder, or take up the one of an interrupted run that had the same `plan`.

        Raises:
            InputError: it is to be taken up, but was begun with another plan; the message names what differs.
        """
        # As JSON has it, so that a plan that was read equals the one that was written.
        plan = json.loads(json.dumps(plan))
        if self.folder.exists() and resume:
            self._check(plan)
            log.info("going on with %d micrographs that are done", len(list(self._records.glob("*.json"))))
        else:
            if self.folder.exists():
                log.warning("%s: an interrupted run is removed; --resume would go on with it", self.folder)
            remove(self.folder)
        for name in folders:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._records.mkdir(parents=True, exist_ok=True)
        write_json(self._work / PLAN, plan)

    @property
    def _records(self) -> Path:
        return self._work / RECORDS

    def _check(self, plan: Mapping[str, Any]) -> None:
        try:
            begun = json.loads((self._work / PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            begun = {}
        different = sorted(key for key in {*begun, *plan} if begun.get(key) != plan.get(key))
        if different:
            raise InputError(
                f"{self.folder}: the interrupted run was begun with other {', '.join(different)}; give the same "
                "again, or leave --resume out to start anew"
            )

    def record(self, stem: str) -> dict[str, Any] | None:
        """Return the record of a micrograph that is done, else None."""
        path = self._records / f"{stem}.json"
        if not path.is_file():
            return None
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def write_record(self, stem: str, record: Mapping[str, Any], islands: str) -> None:
        """Note that a micrograph is done; `islands` are its lines of the table of islands."""
        with output_file(self._records / f"{stem}.csv") as partial:
            partial.write_text(islands, encoding="utf-8", newline="\n")
        write_json(self._records / f"{stem}.json", record)

    def join_islands(self, header: str, stems: Sequence[str], path: Path) -> None:
        """Write the table of all islands, one micrograph after the other."""
        with path.open("w", encoding="utf-8", newline="\n") as table:
            table.write(header)
            for stem in stems:
                with (self._records / f"{stem}.csv").open(encoding="utf-8") as lines:
                    shutil.copyfileobj(lines, table)

    def finish(self) -> None:
        """Put the folder in its place."""
        remove(self._work)
        if self.output.exists():
            self.output.rmdir()
        self.folder.rename(self.output.resolve())


@contextmanager
def resume_advice(unfinished: PartialOutput) -> Iterator[None]:
    """Say how to go on where the disk is full or the user interrupts; what is done stays in the working folder.

    Raises:
        InputError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise InputError(
                f"{unfinished.output}: the disk is full; free some space, then run the same with --resume "
                f"(what is done waits in {unfinished.folder})"
            ) from error
        raise
    except KeyboardInterrupt:
        log.warning("interrupted; run the same with --resume to go on (what is done is in %s)", unfinished.folder)
        raise
