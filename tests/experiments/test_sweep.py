"""A sweep runs what is missing, once, through DVC's queue, and goes on after anything that stops it."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from project_copy import environment, run
from toy_project import hold_file, make_toy, microseg, runs, toy_environment, wait_for


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = make_toy(tmp_path_factory.mktemp("sweep") / "project")
    yield folder
    for worker in workers(folder):
        worker.kill()


def workers(project: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "queue-worker" in (process.info["cmdline"] or []) and process.info["cwd"] == str(project)
    ]


def sweep(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(*microseg("sweep", *arguments), cwd=project, check=False, **toy_environment(project))


def names(project: Path) -> set[str]:
    return set(run("git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps", cwd=project).stdout.split())


def start(project: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        microseg("sweep", *arguments), cwd=project, env=environment(**toy_environment(project))
    )


def test_a_sweep_runs_what_is_missing_and_says_what_failed(project: Path) -> None:
    settings = ("-S", "split.sample_size=10", "-S", "train.lr=0.01,5")
    dry = sweep(project, *settings, "--dry-run")
    assert dry.returncode == 0, dry.stdout
    assert "would run n10-e20-lr5" in dry.stdout
    assert not names(project)

    first = sweep(project, *settings)
    assert first.returncode == 1, first.stdout
    assert names(project) == {"n10-e20-lr0.01"}
    assert "dvc queue logs n10-e20-lr5" in first.stdout
    assert runs(project) == ["10 20", "10 20"]
    assert "the loss is not finite" in run("dvc", "queue", "logs", "n10-e20-lr5", cwd=project).stdout

    # Only what failed is run again, and the failed task has made way for the new one.
    again = sweep(project, *settings)
    assert again.returncode == 1, again.stdout
    assert runs(project) == ["10 20", "10 20", "10 20"]
    assert run("dvc", "queue", "status", cwd=project).stdout.count("n10-e20-lr5") == 1

    done = sweep(project, "-S", "split.sample_size=10", "-S", "train.lr=0.01")
    assert done.returncode == 0, done.stdout
    assert "1 experiments: 1 finished" in done.stdout
    assert len(runs(project)) == 3


def test_a_name_with_other_parameters_is_refused(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("batch_size: 8", "batch_size: 4"))
    try:
        refused = sweep(project, "-S", "split.sample_size=10", "-S", "train.lr=0.01")
    finally:
        (project / "params.yaml").write_text(params)
    assert refused.returncode == 1
    assert "uncommitted changes go into every new experiment: params.yaml" in refused.stdout
    assert "experiment n10-e20-lr0.01 already in which train.batch_size is 8.0, not 4" in refused.stdout
    assert "dvc exp remove n10-e20-lr0.01" in refused.stdout


def test_a_killed_sweep_and_its_killed_worker_go_on_where_they_stopped(project: Path) -> None:
    settings = ("-S", "split.sample_size=20,30", "-S", "train.epochs=7")
    hold_file(project).touch()
    killed = start(project, *settings)
    wait_for(lambda: "20 7" in runs(project))
    killed.kill()
    killed.wait()
    (worker,) = workers(project)
    left = worker.children(recursive=True)
    worker.kill()
    assert any("stage.py" in " ".join(one.cmdline()) for one in left), "the experiment was to be running"

    going_on = start(project, *settings)
    wait_for(lambda: len([one for one in runs(project) if one.endswith(" 7")]) == 2)
    assert not [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    hold_file(project).unlink()
    assert going_on.wait(timeout=60) == 0
    assert {"n20-e7", "n30-e7"} <= names(project)
    assert not list((project / ".dvc" / "tmp" / "exps").glob("tmp*"))


def test_experiments_outlive_an_interrupted_sweep_and_the_loss_of_their_worker(project: Path) -> None:
    settings = ("-S", "split.sample_size=22", "-S", "train.epochs=7")
    hold_file(project).touch()
    interrupted = start(project, *settings)
    wait_for(lambda: "22 7" in runs(project))
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(timeout=60) == 130
    (worker,) = workers(project)
    assert worker.children(), "the experiment was to be running"

    watching = start(project, *settings)
    wait_for(lambda: psutil.Process(watching.pid).cpu_times().user > 1)
    worker.kill()
    wait_for(lambda: runs(project).count("22 7") == 2)
    hold_file(project).unlink()
    assert watching.wait(timeout=60) == 0
    assert "n22-e7" in names(project)
    assert runs(project).count("22 7") == 2


def test_the_experiments_of_the_sweeps_are_drawn_or_left_out_with_a_reason(project: Path) -> None:
    command = microseg("experiments", "--x", "split.sample_size", "--where", "train.epochs=7", "--output", "drawn")
    said = run(*command, cwd=project, **toy_environment(project)).stdout
    # 20, 22 and 30 are below 40, where the lines of the toy's scores cross.
    assert "| n22-e7 | 22 | sigmoid | 0.110 | 0.050 | 0.120 |" in said
    assert "Morphology is ahead everywhere." in said
    assert "- n10-e20-lr5: failed" in said
    assert "- n10-e20-lr0.01: train.epochs is 20, not 7; train.lr is 0.01, not 0.001" in said
    assert sorted(path.name for path in (project / "drawn").iterdir()) == [
        "split.sample_size.csv",
        "split.sample_size.md",
        "split.sample_size.png",
    ]
    shutil.rmtree(project / "drawn")


def test_too_few_experiments_and_unknown_parameters_are_refused(project: Path) -> None:
    environment_ = toy_environment(project)
    for arguments, message in (
        (("--x", "train.batch_size"), "it takes two comparable experiments"),
        (("--x", "train.epoch"), "did you mean train.epochs?"),
        (("--x", "train.epochs", "--where", "train.epochs=7"), "not for the parameter to draw against"),
        (("--x", "train.epochs", "--rev", "nowhere"), "unknown Git revision"),
    ):
        refused = run(*microseg("experiments", *arguments), cwd=project, check=False, **environment_)
        assert refused.returncode == 1
        assert message in refused.stdout


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=5", "did you mean train.epochs?"),
        ("train.epochs=0", "train.epochs: input should be greater than or equal to 1"),
        ("train.epochs", "KEY=VALUE"),
        ("train.epochs=5,,6", "KEY=VALUE"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_runs(
    project: Path, setting: str, message: str
) -> None:
    refused = sweep(project, "-S", setting)
    assert refused.returncode == 1
    assert message in refused.stdout


def test_a_project_without_a_committed_lock_file_is_refused(tmp_path: Path) -> None:
    project = make_toy(tmp_path / "project")
    run("git", "rm", "--quiet", "--cached", "dvc.lock", cwd=project)
    run("git", "commit", "--quiet", "--message", "no lock", cwd=project)
    refused = sweep(project, "-S", "train.epochs=5")
    assert refused.returncode == 1
    assert "dvc.lock is not committed" in refused.stdout
