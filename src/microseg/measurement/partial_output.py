"""Results of an unfinished run: collected in a folder beside the output, renamed to it once they are complete."""

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from microseg.common.errors import InputError
from microseg.common.files import output_file, remove, write_json

IMAGE_FOLDERS = ("masks", "overlays", "labels", "probability")
PLAN, RECORDS = "plan.json", "records"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


def check_output(output: Path, folder: Path) -> None:
    """Raise an InputError if results cannot go to `output`: it is not empty, or lies among the micrographs."""
    if output.exists() and not _is_empty_folder(output):
        raise InputError(f"{output}: already exists and is not empty; give a new folder, or empty it")
    if folder.resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(
            f"{output}: lies in the folder of the micrographs, where results would be taken for micrographs; "
            "give a folder outside of it"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


class PartialOutput:
    """The working folder of a run, with a record of every finished micrograph."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.resolve().with_name(f".{output.resolve().name}.partial")
        self._work = self.folder / ".work"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other run out of this output meanwhile.

        Raises:
            InputError: another run is writing to the output, or nothing can be written there.
        """
        lock = FileLock(self.folder.with_suffix(".lock"))
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"{self.output}: another run is writing there; wait for it, or give another"
            ) from None
        except OSError as error:
            raise InputError(f"{self.output}: cannot be written ({error.strerror}); give another") from error
        try:
            yield
        finally:
            # While it is held, so that nobody else has locked it. Windows removes it when it is released.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()

    def refuse_unfinished(self) -> None:
        """Raise an InputError if an interrupted run has left finished micrographs."""
        finished = self._finished()
        if finished:
            raise InputError(
                f"{self.output}: an interrupted run has finished micrographs ({finished}); give --resume to "
                f"continue it, or --restart to start over (they are kept in {self.folder})"
            )

    def begin(self, plan: Mapping[str, Any], folders: Sequence[str], *, resume: bool) -> None:
        """Create the working folder, or resume in the one of an interrupted run with the same `plan`.

        Args:
            plan: everything the results depend on, as JSON takes it.
            folders: the folders of images to create.
            resume: whether to resume an interrupted run; otherwise it is removed.

        Raises:
            InputError: the interrupted run had another plan; the message names what differs.
        """
        text = json.dumps(plan, sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        if resume and self.folder.exists():
            self._check_plan(json.loads(text))
            log.info("resuming: %d micrographs are already done", self._finished())
        else:
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
                "again, or --restart to start over"
            )

    @property
    def _records(self) -> Path:
        return self._work / RECORDS

    def _finished(self) -> int:
        return len(list(self._records.rglob("*.json")))

    def image_path(self, stem: str, folder: str, suffix: str) -> Path:
        """Return where an image of the results goes; sub-folders of the micrographs become sub-folders there."""
        path = self.folder / folder / f"{stem}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def read_record(self, stem: str) -> dict[str, Any] | None:
        """Return the record of a micrograph, None where it is not finished, or of another plan."""
        path = self._records / f"{stem}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        record: dict[str, Any] = content["record"]
        return record if content["plan"] == self._digest else None

    def write_record(self, stem: str, record: Mapping[str, Any], islands: str) -> None:
        """Record that a micrograph is finished; `islands` are its lines of the table of islands."""
        with output_file(self._records / f"{stem}.csv") as partial:
            partial.write_text(islands, encoding="utf-8", newline="\n")
        write_json(self._records / f"{stem}.json", {"plan": self._digest, "record": record})

    def join_islands(self, header: str, stems: Sequence[str], path: Path) -> None:
        """Write the table of all islands, one micrograph after another."""
        with path.open("w", encoding="utf-8", newline="\n") as table:
            table.write(header)
            for stem in stems:
                with (self._records / f"{stem}.csv").open(encoding="utf-8") as lines:
                    shutil.copyfileobj(lines, table)

    def finish(self) -> None:
        """Turn the working folder into the output folder; only then are the records of no more use.

        Raises:
            InputError: something else was put into the output folder meanwhile.
        """
        if self.output.exists():
            if not _is_empty_folder(self.output):
                raise InputError(
                    f"{self.output}: is no longer empty; empty it, then run the same command with --resume"
                )
            self.output.rmdir()
        output = self.folder.rename(self.output.resolve())
        remove(output / self._work.name)


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
