"""Experiments that run at the same time yield the cores they do not use to each other."""

from pathlib import Path

import pytest

from microseg.experiments.sweep import thread_variables

from project_copy import commit, run
from toy_project import make_toy, microseg, toy_environment

REPORT = """
print("wait policy:", os.environ.get("OMP_WAIT_POLICY"), flush=True)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy whose stage prints the wait policy of its threads."""
    folder = make_toy(tmp_path_factory.mktemp("sweep") / "project")
    with (folder / "stage.py").open("a") as stage:
        stage.write(REPORT)
    run("dvc", "repro", "--quiet", cwd=folder, **toy_environment(folder))
    commit(folder, "the stage prints the wait policy")
    return folder


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)


def test_one_job_changes_nothing() -> None:
    assert thread_variables(1) == {}


def test_threads_of_several_jobs_yield() -> None:
    assert thread_variables(2) == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "1000")])
def test_variables_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert thread_variables(2) == {}


@pytest.mark.parametrize(
    ("jobs", "chosen", "epochs", "expected"),
    [("1", {}, "1", "None"), ("2", {}, "2", "PASSIVE"), ("2", {"OMP_WAIT_POLICY": "ACTIVE"}, "3", "ACTIVE")],
)
def test_the_stages_of_a_sweep_have_the_variable(
    project: Path, jobs: str, chosen: dict[str, str], epochs: str, expected: str
) -> None:
    variables = toy_environment(project) | chosen
    run(*microseg("sweep", "-S", f"train.epochs={epochs}", "--jobs", jobs), cwd=project, **variables)
    log = project / ".microseg" / "sweeps" / f"nall-e{epochs}.log"
    assert f"wait policy: {expected}" in log.read_text()
