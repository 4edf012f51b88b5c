"""A sweep runs each missing experiment once, and continues after any interruption."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from microseg.console.program import main

from project_copy import environment, run
from toy_project import PATIENCE, hold_file, make_toy, microseg, runs, toy_environment, wait_for

COPIES = ".dvc/tmp/exps/standalone"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = make_toy(tmp_path_factory.mktemp("sweep") / "project")
    yield folder
    for process in working_in(folder):
        process.kill()


def working_in(project: Path) -> list[psutil.Process]:
    """Return the processes of stages and of DVC that work in a project."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if Path(process.info["cwd"] or "/").is_relative_to(project) and "python" in str(process.info["cmdline"])
    ]


def sweep(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run(*microseg("sweep", *arguments), cwd=project, check=False, **toy_environment(project), **more)


def names(project: Path) -> set[str]:
    return set(run("git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps", cwd=project).stdout.split())


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        microseg("sweep", *arguments),
        cwd=project,
        env=environment(**toy_environment(project)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_sweep_runs_missing_experiments_and_reports_failures(project: Path) -> None:
    settings = ("-S", "split.sample_size=10", "-S", "train.lr=0.01,5")
    unreadable = project / ".dvc" / "tmp" / "rwlock"
    unreadable.write_text("")
    dry = sweep(project, *settings, "--dry-run")
    assert dry.returncode == 0, dry.stdout
    assert "removed .dvc/tmp/rwlock, left behind by a killed DVC command" in dry.stdout
    assert not unreadable.exists() or unreadable.read_text()
    assert "would run n10-e20-lr5" in dry.stdout
    assert not names(project)

    first = sweep(project, *settings, "--jobs", "2")
    assert first.returncode == 1, first.stdout
    assert names(project) == {"n10-e20-lr0.01"}
    assert "n10-e20-lr5 failed: failed to reproduce 'evaluate'" in first.stdout
    assert runs(project) == ["10 20", "10 20"]
    log = project / ".microseg" / "sweeps" / "n10-e20-lr5.log"
    assert f"its log is {log}" in first.stdout
    assert "the loss is not finite" in log.read_text()

    # Only what failed is run again.
    again = sweep(project, *settings)
    assert again.returncode == 1, again.stdout
    assert "2 experiments: 1 finished, 1 to run" in again.stdout
    assert runs(project) == ["10 20", "10 20", "10 20"]


def test_an_experiment_ignores_what_another_command_has_stashed_meanwhile(project: Path) -> None:
    """Between stashing settings and taking them from the stash again, DVC holds no lock."""
    stash = """if True:
        from dvc.repo import Repo
        experiments = Repo().experiments
        settings = {"params.yaml": ["split.sample_size=13"]}
        experiments.queue_one(experiments.tempdir_queue, name="other", params=settings)
    """
    hold_file(project).touch()
    running = start(project, "-S", "split.sample_size=12")
    wait_for(lambda: "12 20" in runs(project))
    run(sys.executable, "-c", stash, cwd=project)
    hold_file(project).unlink()
    said = running.communicate(timeout=PATIENCE)[0]
    assert running.returncode == 0, said
    assert "n12-e20" in names(project)
    assert "13 20" not in runs(project)
    left = "from dvc.repo import Repo; print(*Repo().experiments.tempdir_queue.stash.stash_revs.values())"
    assert "name='other'" in run(sys.executable, "-c", left, cwd=project).stdout
    run("git", "update-ref", "-d", "refs/exps/stash", cwd=project)


def test_a_name_with_other_parameters_is_refused(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("batch_size: 8", "batch_size: 4"))
    try:
        refused = sweep(project, "-S", "split.sample_size=10", "-S", "train.lr=0.01")
    finally:
        (project / "params.yaml").write_text(params)
    assert refused.returncode == 1
    assert "uncommitted changes go into every new experiment: params.yaml" in refused.stdout
    assert "experiment n10-e20-lr0.01 already exists in which train.batch_size is 8.0, not 4" in refused.stdout
    assert "dvc exp remove n10-e20-lr0.01" in refused.stdout


def test_a_sweep_continues_after_it_and_an_experiment_were_killed(project: Path) -> None:
    """Of the two experiments that ran one outlives the sweep, the other leaves its copy of the project."""
    settings = ("-S", "split.sample_size=20,30", "-S", "train.epochs=7", "--jobs", "2")
    hold_file(project).touch()
    killed = start(project, *settings)
    wait_for(lambda: {"20 7", "30 7"} <= set(runs(project)))
    killed.kill()
    killed.communicate()
    (dvc,) = [one for one in working_in(project) if "n30-e7" in one.info["cmdline"]]
    stages = dvc.children(recursive=True)
    for one in (dvc, *stages):
        one.kill()
    psutil.wait_procs([dvc, *stages], timeout=10)

    continued = start(project, *settings)
    wait_for(lambda: runs(project).count("30 7") == 2)
    hold_file(project).unlink()
    said = continued.communicate(timeout=PATIENCE)[0]
    assert continued.returncode == 0, said
    assert "n20-e7 already exists" in said
    assert "n30-e7 finished" in said
    assert {"n20-e7", "n30-e7"} <= names(project)
    assert runs(project).count("20 7") == 1
    assert not list((project / COPIES).glob("tmp*"))


def test_an_interrupted_sweep_leaves_nothing_behind_and_lists_what_remains(project: Path) -> None:
    settings = ("-S", "split.sample_size=22,24,26", "-S", "train.epochs=7", "--jobs", "2")
    hold_file(project).touch()
    interrupted = start(project, *settings)
    wait_for(lambda: {"22 7", "24 7"} <= set(runs(project)))
    refused = sweep(project, *settings)
    assert "another sweep is running in this project" in refused.stdout
    interrupted.send_signal(signal.SIGINT)
    said = interrupted.communicate(timeout=PATIENCE)[0]
    hold_file(project).unlink()
    assert interrupted.returncode == 130, said
    assert "not finished: n22-e7, n24-e7, n26-e7; the same command continues with them" in said
    assert working_in(project) == []
    assert not list((project / COPIES).glob("tmp*"))
    assert "26 7" not in runs(project)
    assert run("git", "status", "--short", cwd=project).stdout == ""
    assert sweep(project, "-S", "split.sample_size=22", "-S", "train.epochs=7").returncode == 0
    assert "n22-e7" in names(project)


def test_dvc_is_run_again_while_another_command_locks_the_project(project: Path) -> None:
    hold = "import zc.lockfile; held = zc.lockfile.LockFile('.dvc/tmp/lock'); print('held', flush=True); input()"
    log = project / ".microseg" / "sweeps" / "n10-e2.log"
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        sweeping = start(project, "-S", "split.sample_size=10", "-S", "train.epochs=2")
        wait_for(lambda: log.exists() and "Unable to acquire lock" in log.read_text())
    said = sweeping.communicate(timeout=PATIENCE)[0]
    assert sweeping.returncode == 0, said
    assert runs(project).count("10 2") == 1


def test_the_experiments_of_the_sweeps_are_plotted_or_excluded_with_the_reason(project: Path) -> None:
    command = microseg("experiments", "--x", "split.sample_size", "--where", "train.epochs=7", "--output", "drawn")
    said = run(*command, cwd=project, **toy_environment(project)).stdout
    assert "| n22-e7 | 22 | 2021 | sigmoid | 0.110 | 0.050 | 0.120 |" in said
    assert "A value has fewer than 3 seeds" in said
    assert "n10-e20-lr5" not in said
    assert "- n10-e20-lr0.01: train.epochs is 20, not 7; train.lr is 0.01, not 0.001" in said
    assert sorted(path.name for path in (project / "drawn").iterdir()) == [
        "split.sample_size.csv",
        "split.sample_size.md",
        "split.sample_size.png",
    ]
    shutil.rmtree(project / "drawn")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("experiments", "--x", "train.batch_size"), "takes two comparable experiments"),
        (("experiments", "--x", "train.epoch"), "did you mean train.epochs?"),
        (
            ("experiments", "--x", "train.epochs", "--where", "train.epochs=7"),
            "another parameter than that of --x",
        ),
        (("experiments", "--x", "train.epochs", "--rev", "nowhere"), "nowhere: no such commit"),
        (("sweep", "-S", "train.epoch=5"), "did you mean train.epochs?"),
        (("sweep", "-S", "train.epochs=0"), "train.epochs: input should be greater than or equal to 1"),
        (("sweep", "-S", "train.epochs"), "KEY=VALUE"),
        (("sweep", "-S", "train.epochs=5,,6"), "KEY=VALUE"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert message in str(refused.value.code)


def test_a_project_without_a_committed_lock_file_is_refused(tmp_path: Path) -> None:
    project = make_toy(tmp_path / "project")
    run("git", "rm", "--quiet", "--cached", "dvc.lock", cwd=project)
    run("git", "commit", "--quiet", "--message", "no lock", cwd=project)
    refused = sweep(project, "-S", "train.epochs=5")
    assert refused.returncode == 1
    assert "dvc.lock is not committed" in refused.stdout
