"""What `crossval` and `tune` need of the first stages is made in sight, and is then no reason to warn."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dvc.lock import DEFAULT_TIMEOUT, Lock

from microseg.common.errors import InputError
from microseg.experiments import sweep
from microseg.experiments.dvc_access import reproduce

from toy_project import make_toy, toy_environment


def test_stages_show_what_they_do_on_standard_error(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^`dvc repro parse_csv split` failed, see above$"):
        reproduce("parse_csv", "split")
    shown = capfd.readouterr()
    assert "you are not inside of a DVC repository" in shown.err
    assert not shown.out


def test_while_another_command_locks_the_project_they_wait(tmp_path, monkeypatch):
    project = make_toy(tmp_path / "project")
    for name, value in toy_environment(project).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    Path("scores.txt").unlink()
    with ThreadPoolExecutor() as pool:
        with Lock(".dvc/tmp/lock"):
            stages = pool.submit(reproduce, "evaluate")
            time.sleep(2 * DEFAULT_TIMEOUT)  # DVC's start, and then its patience without being asked to wait
            assert not stages.done()
        stages.result()
    assert Path("scores.txt").is_file()


@pytest.mark.parametrize(
    ("changed", "warned_of"),
    [
        (["dvc.lock", "reports/masks.json", "metrics/train.json", "plots/validation.csv"], ""),
        (["dvc.lock", "params.yaml", "src/microseg/splits.py"], "params.yaml, src/microseg/splits.py"),
    ],
)
def test_only_changes_that_can_change_an_experiment_are_named(monkeypatch, caplog, changed, warned_of):
    monkeypatch.setattr(sweep, "head", lambda: "0123456")
    monkeypatch.setattr(sweep, "run_git", lambda *_: "dvc.lock\n")
    monkeypatch.setattr(sweep, "changed_files", lambda: changed)
    with caplog.at_level(logging.WARNING):
        assert sweep.base_commit() == "0123456"
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == (
        [warned_of] if warned_of else []
    )
