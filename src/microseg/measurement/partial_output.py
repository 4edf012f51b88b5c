"""Results of an unfinished run: collected in a folder beside the output, renamed to it once they are complete."""

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

IMAGE_FOLDERS = ("masks", "overlays", "labels", "probability")
PLAN, RECORDS = "plan.json", "records"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


def check_output(output: Path, folder: Path) -> None:
    """Raise an InputError if results cannot go to `output`: it is not empty, or lies among the micrographs."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"{output}: already exists and is not empty; give a new folder, or empty it")
    if folder.resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(
            f"{output}: lies in the folder of the micrographs, where results would be taken for micrographs; "
            "give a folder outside of it"
        )


class PartialOutput:
    """The working folder of a run, with a record of every finished micrograph."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.resolve().with_name(f".{output.resolve().name}.partial")
        self._work = self.folder / ".work"

    def begin(self, plan: Mapping[str, Any], folders: Sequence[str], *, resume: bool) -> None:
        """Create the working folder, or resume in the one of an interrupted run with the same `plan`.

        Args:
            plan: everything the results depend on, as JSON takes it.
            folders: the folders of images to create.
            resume: whether to resume an interrupted run; otherwise it is removed.

        Raises:
            InputError: the interrupted run had another plan; the message names what differs.
        """
        # Through JSON, so that a plan read back equals the one that was written.
        plan = json.loads(json.dumps(plan))
        if self.folder.exists() and resume:
            self._check_plan(plan)
            finished = len(list(self._records.glob("*.json")))
            log.info("resuming: %d micrographs are already done", finished)
        else:
            if self.folder.exists():
                log.warning("%s: removing an interrupted run; --resume would continue it", self.folder)
            remove(self.folder)
        for name in folders:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._records.mkdir(parents=True, exist_ok=True)
        write_json(self._work / PLAN, plan)

    def _check_plan(self, plan: Mapping[str, Any]) -> None:
        try:
            begun = json.loads((self._work / PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            begun = {}
        different = sorted(key for key in {*begun, *plan} if begun.get(key) != plan.get(key))
        if different:
            raise InputError(
                f"{self.folder}: the interrupted run was started with other {', '.join(different)}; give the same "
                "again, or omit --resume to start over"
            )

    @property
    def _records(self) -> Path:
        return self._work / RECORDS

    def read_record(self, stem: str) -> dict[str, Any] | None:
        """Return the record of a micrograph, None where it is not finished."""
        path = self._records / f"{stem}.json"
        if not path.is_file():
            return None
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def write_record(self, stem: str, record: Mapping[str, Any], islands: str) -> None:
        """Record that a micrograph is finished; `islands` are its lines of the table of islands."""
        with output_file(self._records / f"{stem}.csv") as partial:
            partial.write_text(islands, encoding="utf-8", newline="\n")
        write_json(self._records / f"{stem}.json", record)

    def join_islands(self, header: str, stems: Sequence[str], path: Path) -> None:
        """Write the table of all islands, one micrograph after another."""
        with path.open("w", encoding="utf-8", newline="\n") as table:
            table.write(header)
            for stem in stems:
                with (self._records / f"{stem}.csv").open(encoding="utf-8") as lines:
                    shutil.copyfileobj(lines, table)

    def finish(self) -> None:
        """Turn the working folder into the output folder."""
        remove(self._work)
        if self.output.exists():
            self.output.rmdir()
        self.folder.rename(self.output.resolve())


@contextmanager
def resume_advice(partial: PartialOutput) -> Iterator[None]:
    """Say how to resume when the disk is full or the user interrupts; finished work stays in the working folder.

    Raises:
        InputError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise InputError(
                f"{partial.output}: the disk is full; free some space, then run the same command with --resume "
                f"(finished micrographs are kept in {partial.folder})"
            ) from error
        raise
    except KeyboardInterrupt:
        log.warning(
            "interrupted; run the same command with --resume to continue (finished micrographs are kept in %s)",
            partial.folder,
        )
        raise
