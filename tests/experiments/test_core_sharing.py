"""Experiments run at the same time on a processor only where each has cores of its own."""

import re
from pathlib import Path

import pytest

from microseg.experiments import sweep
from microseg.experiments.sweep import jobs_at_a_time

from project_copy import commit, run
from toy_project import make_toy, microseg, toy_environment

AT_A_TIME = (
    "one experiment at a time: each trains on all 8 cores; with OMP_NUM_THREADS={} they share them, {} at a time"
)

SECONDS = 5
"""Longer than DVC takes to start the next experiment."""

REPORT = f"""
begin = time.monotonic()
time.sleep({SECONDS})
print("ran from", begin, "to", time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def eight_cores_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "usable_cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("jobs", "threads"), [(2, 4), (3, 2), (8, 1), (20, 1)])
def test_trainings_that_each_take_all_cores_run_one_after_the_other(
    caplog: pytest.LogCaptureFixture, jobs: int, threads: int
) -> None:
    assert jobs_at_a_time(jobs, 20) == 1
    assert AT_A_TIME.format(threads, jobs) in caplog.text


def test_with_threads_of_their_own_they_run_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert jobs_at_a_time(2, 20) == 2
    assert not caplog.text


def test_on_gpus_they_run_together(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert jobs_at_a_time(2, 20) == 2
    assert not caplog.text


@pytest.mark.parametrize(("jobs", "experiments"), [(1, 20), (2, 1), (2, 0)])
def test_a_single_experiment_needs_no_word(caplog: pytest.LogCaptureFixture, jobs: int, experiments: int) -> None:
    assert jobs_at_a_time(jobs, experiments) == 1
    assert not caplog.text


def test_a_sweep_of_two_jobs_runs_one_after_the_other(tmp_path: Path) -> None:
    project = make_toy(tmp_path / "project")
    with (project / "stage.py").open("a") as stage:
        stage.write(REPORT)
    commit(project, "the stage says when it ran")
    command = microseg("sweep", "-S", "train.epochs=2,3", "--jobs", "2")
    said = run(*command, cwd=project, **toy_environment(project)).stdout
    assert "one experiment at a time: each trains on all" in said
    lines = [log.read_text() for log in (project / ".microseg" / "sweeps").glob("*.log")]
    times = [re.search(r"ran from (\S+) to (\S+)", line) for line in lines]
    first, second = sorted((float(one[1]), float(one[2])) for one in times if one)
    assert first[1] <= second[0]
    # Nothing is left to run, so there is nothing to say.
    assert "at a time" not in run(*command, cwd=project, **toy_environment(project)).stdout
