"""Workers in several clones share a sweep: each experiment is run by one of them, and all are pushed complete."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from project_copy import commit, environment, run
from toy_project import hold_file, make_toy, microseg, runs, toy_environment, wait_for


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project whose stage has data to share, and a bare repository and a DVC remote beside it."""
    folder = tmp_path_factory.mktemp("shared")
    project = make_toy(folder / "first")
    pipeline = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(pipeline + "    outs: [scores.txt]\n")
    stage = (project / "stage.py").read_text()
    (project / "stage.py").write_text(stage + 'Path("scores.txt").write_text(f"{size} {epochs}")\n')
    run("dvc", "repro", "--quiet", cwd=project, **toy_environment(project))
    run("dvc", "remote", "add", "--default", "store", str(folder / "store"), cwd=project)
    commit(project, "data to share")
    (folder / "runs").unlink()
    run("dvc", "push", "--quiet", cwd=project)
    run("git", "init", "--quiet", "--bare", str(folder / "git"), cwd=folder)
    run("git", "remote", "add", "origin", str(folder / "git"), cwd=project)
    run("git", "push", "--quiet", "origin", "main", cwd=project)
    return project


def clone(project: Path, name: str) -> Path:
    folder = project.parent
    run("git", "clone", "--quiet", "--branch", "main", str(folder / "git"), name, cwd=folder)
    run("dvc", "pull", "--quiet", cwd=folder / name)
    return folder / name


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        microseg("sweep", *arguments),
        cwd=project,
        env=environment(**toy_environment(project)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def references(project: Path, kind: str) -> list[str]:
    listed = run("git", "ls-remote", "origin", f"refs/{kind}/*", cwd=project).stdout.split()
    return sorted(name.rsplit("/", 1)[-1] for name in listed[1::2])


def reference(project: Path, kind: str, name: str) -> str:
    commit_id = run("git", "rev-parse", "HEAD", cwd=project).stdout.strip()
    folder = commit_id if kind == "claims" else f"{commit_id[:2]}/{commit_id[2:]}"
    return f"refs/{kind}/{folder}/{name}"


def test_two_workers_run_every_experiment_once_and_push_all(project: Path) -> None:
    folders = [project, clone(project, "second")]
    workers = [start(folder, "-S", "split.sample_size=10,20,30", "--share", "origin") for folder in folders]
    said = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert sorted(runs(project)) == ["10 20", "20 20", "30 20"]
    assert references(project, "exps") == ["n10-e20", "n20-e20", "n30-e20"]
    assert references(project, "claims") == []

    third = clone(project, "third")
    for name in references(third, "exps"):
        run("dvc", "exp", "pull", "origin", name, cwd=third)
        run("dvc", "exp", "apply", name, cwd=third)
        assert (third / "scores.txt").read_text() == name.removeprefix("n").replace("-e", " ")


def test_of_many_claims_at_once_one_succeeds(project: Path) -> None:
    # All live until the last one has its answer: the claim of one that has ended may be taken over.
    code = (
        "from microseg.experiments.claims import claim; "
        "print(claim('origin', 'commit', 'n1')[1], flush=True); input()"
    )
    claims = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment(**toy_environment(project)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in (project, project.parent / "second") * 3
    ]
    answers = [one.stdout.readline().strip() for one in claims if one.stdout]
    for one in claims:
        one.communicate("\n", timeout=60)
    run("git", "push", "--quiet", "origin", ":refs/claims/commit/n1", cwd=project)
    assert [one.returncode for one in claims] == [0] * 6
    assert answers.count("None") == 1
    assert all("process" in answer for answer in answers if answer != "None")


def test_the_claim_of_another_machine_is_respected_until_it_is_released(project: Path) -> None:
    settings = ("-S", "split.sample_size=10", "-S", "train.epochs=3", "--share", "origin")
    other = {"host": "node7", "folder": "/elsewhere", "process": 1, "since": "2024-05-01", "token": "x"}
    (project.parent / "claim").write_text(json.dumps(other))
    blob = run("git", "hash-object", "-w", str(project.parent / "claim"), cwd=project).stdout.strip()
    run("git", "push", "--quiet", "origin", f"{blob}:{reference(project, 'claims', 'n10-e3')}", cwd=project)
    respectful = start(project, *settings)
    assert "n10-e3 is being run by node7, process 1" in respectful.communicate(timeout=60)[0]
    assert respectful.returncode == 0
    assert "10 3" not in runs(project)
    releasing = start(project, "--share", "origin", "--release", "n10-e3")
    assert "n10-e3 is free again" in releasing.communicate(timeout=60)[0]
    assert references(project, "claims") == []
    again = start(project, "--share", "origin", "--release", "n10-e3")
    assert "nobody claims n10-e3" in again.communicate(timeout=60)[0]
    assert again.returncode == 1


def test_a_killed_worker_goes_on_with_its_own_claim(project: Path) -> None:
    settings = ("-S", "split.sample_size=10", "-S", "train.epochs=4", "--share", "origin")
    hold_file(project).touch()
    killed = start(project, *settings)
    wait_for(lambda: "10 4" in runs(project))
    assert references(project, "claims") == ["n10-e4"]
    killed.kill()
    killed.wait()
    # What it had started is still running, and is not run twice.
    still_running = start(project, *settings)
    assert "n10-e4 is being run by" in still_running.communicate(timeout=60)[0]
    hold_file(project).unlink()
    wait_for(lambda: run("git", "for-each-ref", reference(project, "exps", "n10-e4"), cwd=project).stdout)
    wait_for(lambda: "1 run here" in start(project, *settings).communicate(timeout=60)[0])
    assert runs(project).count("10 4") == 1
    assert "n10-e4" in references(project, "exps")
    assert references(project, "claims") == []


def test_a_worker_whose_claim_was_released_leaves_the_result_of_its_successor(project: Path) -> None:
    settings = ("-S", "split.sample_size=10", "-S", "train.epochs=6", "--share", "origin")
    hold_file(project).touch()
    believed_dead = start(project, *settings)
    wait_for(lambda: "10 6" in runs(project))
    assert start(project, "--share", "origin", "--release", "n10-e6").wait(timeout=60) == 0
    successor = start(project.parent / "second", *settings)
    wait_for(lambda: runs(project).count("10 6") == 2)
    believed_dead.send_signal(signal.SIGINT)
    assert "the claim could not be removed" in believed_dead.communicate(timeout=60)[0]
    assert references(project, "claims") == ["n10-e6"]
    hold_file(project).unlink()
    assert "1 run here" in successor.communicate(timeout=60)[0]
    assert "n10-e6" in references(project, "exps")
    assert references(project, "claims") == []


@pytest.mark.parametrize("obstacle", ["the stage fails", "the data cannot be pushed"])
def test_after_a_failure_nothing_is_claimed_or_half_pushed(project: Path, obstacle: str) -> None:
    rate = "5" if obstacle == "the stage fails" else "0.01"
    if obstacle == "the data cannot be pushed":
        (project.parent / "file").touch()
        run("dvc", "remote", "modify", "--local", "store", "url", str(project.parent / "file"), cwd=project)
    before = references(project, "exps")
    worker = start(project, "-S", f"train.lr={rate}", "--share", "origin")
    said = worker.communicate(timeout=60)[0]
    assert worker.returncode == 1, said
    assert references(project, "exps") == before
    assert references(project, "claims") == []


def test_workers_only_start_from_a_commit(project: Path) -> None:
    stage = (project / "stage.py").read_text()
    (project / "stage.py").write_text("pass\n")
    worker = start(project, "-S", "train.epochs=5", "--share", "origin")
    said = worker.communicate(timeout=60)[0]
    (project / "stage.py").write_text(stage)
    assert "commit or undo the changes first" in said
    assert worker.returncode == 1
