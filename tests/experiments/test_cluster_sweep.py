"""Dask's workers in clones of a project run every experiment of a sweep, and push each complete and once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from microseg.console.program import main
from microseg.experiments import cluster

from project_copy import commit, environment, run
from toy_project import PATIENCE, hold_file, make_toy, microseg, runs, toy_environment, wait_for

# Dask's scheduler runs code for whoever reaches it, and its pages listen everywhere unless told otherwise.
LOCAL = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project with a bare repository and a DVC remote beside it."""
    folder = tmp_path_factory.mktemp("cluster")
    project = make_toy(folder / "first")
    run("dvc", "remote", "add", "--default", "store", str(folder / "store"), cwd=project)
    commit(project, "data to share")
    run("git", "init", "--quiet", "--bare", str(folder / "git"), cwd=folder)
    run("git", "remote", "add", "origin", str(folder / "git"), cwd=project)
    run("git", "push", "--quiet", "origin", "main", cwd=project)
    return project


@pytest.fixture(scope="module")
def scheduler(project: Path) -> Iterator[str]:
    """Start a scheduler that only this machine reaches; its address is known once it has written the file."""
    file = project.parent / "scheduler.json"
    arguments = (*LOCAL, "--port", "0", "--scheduler-file", str(file))
    process = start(project, sys.executable, "-m", "dask", "scheduler", *arguments)
    wait_for(lambda: file.exists() and file.read_text().endswith("}"))
    yield file.read_text().split('"address": "')[1].split('"')[0]
    end(process)


def start(folder: Path, *command: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(**toy_environment(folder), **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.communicate()


def clone(project: Path, name: str) -> Path:
    folder = project.parent
    run("git", "clone", "--quiet", "--branch", "main", str(folder / "git"), name, cwd=folder)
    return folder / name


@contextmanager
def worker(folder: Path, scheduler: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    arguments = (*LOCAL, "--no-nanny", "--nthreads", "1", *options)
    process = start(folder, sys.executable, "-m", "dask", "worker", scheduler, *arguments)
    try:
        yield process
    finally:
        end(process)


def sweep(project: Path, scheduler: str, *arguments: str) -> subprocess.Popen[str]:
    return start(project, *microseg("sweep", "--scheduler", scheduler, *arguments))


def pushed(project: Path) -> list[str]:
    listed = run("git", "ls-remote", "origin", "refs/exps/*", cwd=project).stdout.split()
    return sorted(name.rsplit("/", 1)[-1] for name in listed[1::2])


def scores(folder: Path, name: str) -> str:
    """Return what an experiment wrote into scores.txt, from the cache of a clone."""
    reference = run(
        "git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}", cwd=folder
    ).stdout.strip()
    lock = YAML(typ="safe").load(run("git", "show", f"{reference}:dvc.lock", cwd=folder).stdout)
    (digest,) = (out["md5"] for out in lock["stages"]["evaluate"]["outs"] if out["path"] == "scores.txt")
    return (folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).read_text()


def test_a_killed_worker_only_loses_its_training(project: Path, scheduler: str) -> None:
    hold_file(project).touch()
    with (
        worker(clone(project, "second"), scheduler) as survivor,
        worker(clone(project, "third"), scheduler) as killed,
    ):
        sweeping = sweep(project, scheduler, "-S", "split.sample_size=10,20,30,40")
        wait_for(lambda: len(runs(project)) == 2)
        training = psutil.Process(killed.pid).children(recursive=True)
        assert any("stage.py" in " ".join(one.cmdline()) for one in training), "it was to be training"
        for one in [psutil.Process(killed.pid), *training]:
            one.send_signal(signal.SIGKILL)
        hold_file(project).unlink()
        said = sweeping.communicate(timeout=PATIENCE)[0]
        assert sweeping.returncode == 0, said
        assert survivor.poll() is None
    assert pushed(project) == ["n10-e20", "n20-e20", "n30-e20", "n40-e20"]
    # The interrupted training was started again, nothing else was.
    assert len(runs(project)) == 5
    assert len(set(runs(project))) == 4

    colleague = clone(project, "colleague")
    run("dvc", "exp", "pull", "--quiet", "origin", *pushed(project), cwd=colleague)
    assert {name: scores(colleague, name) for name in pushed(project)} == {
        f"n{size}-e20": f"{size} 20" for size in (10, 20, 30, 40)
    }
    # The experiments are known where they were submitted, too.
    again = sweep(project, scheduler, "-S", "split.sample_size=10,20,30,40")
    assert "4 experiments: 4 finished, 0 to run" in again.communicate(timeout=PATIENCE)[0]
    assert again.returncode == 0


def test_finished_experiments_of_a_clone_are_pushed_and_failures_are_reported_with_the_worker(
    project: Path, scheduler: str
) -> None:
    """The first experiment is that of a worker which was killed between its end and its push."""
    folder = project.parent / "second"
    run(
        *("dvc", "exp", "run", "--quiet", "--temp", "--name", "n50-e20-lr0.01"),
        *("-S", "split.sample_size=50", "-S", "train.lr=0.01"),
        cwd=folder,
        **toy_environment(folder),
    )
    with worker(folder, scheduler):
        sweeping = sweep(project, scheduler, "-S", "split.sample_size=50", "-S", "train.lr=0.01,5")
        said = sweeping.communicate(timeout=PATIENCE)[0]
    assert sweeping.returncode == 1
    assert "n50-e20-lr0.01 finished" in said
    assert "n50-e20-lr5 failed: on " in said
    assert "failed to run: python stage.py" in said
    assert "not finished" not in said
    assert "n50-e20-lr0.01" in pushed(project)
    assert "n50-e20-lr5" not in pushed(project)
    assert runs(project).count("50 20") == 2


def test_workers_that_would_run_something_else_are_refused(project: Path, scheduler: str) -> None:
    other, edited, doubled = (clone(project, name) for name in ("other", "edited", "doubled"))
    for folder in (other, edited):
        (folder / "stage.py").write_text("pass\n")
    commit(other, "another stage")
    with (
        worker(other, scheduler),
        worker(edited, scheduler),
        worker(doubled, scheduler, "--nthreads", "2") as last,
    ):
        assert last.stdout is not None
        while "Registered to" not in last.stdout.readline():
            pass
        refused = sweep(project, scheduler, "-S", "train.epochs=5")
        said = refused.communicate(timeout=PATIENCE)[0]
    assert refused.returncode == 1
    assert f"the worker in {other} on" in said
    assert "has commit" in said
    assert f"the worker in {edited} on" in said
    assert "has uncommitted changes" in said
    assert f"the worker in {doubled} on" in said
    assert "start it with --nthreads 1" in said
    assert "not finished: nall-e5; the same command continues with them" in said


def test_uncommitted_changes_are_refused(project: Path) -> None:
    stage = (project / "stage.py").read_text()
    (project / "stage.py").write_text("pass\n")
    said = sweep(project, "tcp://127.0.0.1:1", "-S", "train.epochs=5").communicate(timeout=PATIENCE)[0]
    (project / "stage.py").write_text(stage)
    assert "commit or undo the changes first" in said


def test_a_missing_scheduler_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.1)
    with pytest.raises(SystemExit) as refused:
        main(["sweep", "--scheduler", "tcp://127.0.0.1:1", "-S", "train.epochs=5"])
    assert "tcp://127.0.0.1:1: no Dask scheduler answers there" in str(refused.value.code)


def test_a_lost_scheduler_is_reported(project: Path) -> None:
    file = project.parent / "leaving.json"
    options = (*LOCAL, "--port", "0", "--scheduler-file", str(file))
    leaving = start(project, sys.executable, "-m", "dask", "scheduler", *options)
    wait_for(lambda: file.exists() and file.read_text().endswith("}"))
    sweeping = sweep(project, file.read_text().split('"address": "')[1].split('"')[0], "-S", "train.epochs=5")
    assert sweeping.stdout is not None
    said = ""
    while "there are no workers yet" not in said:
        said = sweeping.stdout.readline()
    # As docs/how-to/several-machines.md says: whoever reaches a worker's port can run anything.
    assert " --host 127.0.0.1 --dashboard-address 127.0.0.1:0 --nthreads 1 " in said
    end(leaving)
    said = sweeping.communicate(timeout=PATIENCE)[0]
    assert sweeping.returncode == 1
    assert "lost the connection to Dask's scheduler" in said
    assert "Traceback" not in said


def test_without_dask_the_package_to_install_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError\n")
    search = os.pathsep.join([str(tmp_path), toy_environment(project)["PYTHONPATH"]])
    command = microseg("sweep", "--scheduler", "tcp://127.0.0.1:1", "-S", "train.epochs=5")
    refused = run(*command, cwd=project, check=False, **(toy_environment(project) | {"PYTHONPATH": search}))
    assert refused.returncode == 1
    assert "pip install 'microseg[cluster]'" in refused.stdout
