"""Experiments that run at the same time let each other have the cores that they do not use."""

from pathlib import Path

import pytest

from microseg.experiments.sweep import share_cores

from project_copy import commit, run
from toy_project import make_toy, microseg, toy_environment

REPORT = """
print("threads wait:", os.environ.get("OMP_WAIT_POLICY"), flush=True)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy whose stage says how its threads would wait."""
    folder = make_toy(tmp_path_factory.mktemp("sweep") / "project")
    with (folder / "stage.py").open("a") as stage:
        stage.write(REPORT)
    run("dvc", "repro", "--quiet", cwd=folder, **toy_environment(folder))
    commit(folder, "the stage says how its threads would wait")
    return folder


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)


def test_alone_nothing_changes() -> None:
    assert share_cores(1) == {}


def test_several_give_way_to_each_other() -> None:
    assert share_cores(2) == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "1000")])
def test_what_the_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert share_cores(2) == {}


@pytest.mark.parametrize(
    ("jobs", "chosen", "epochs", "expected"),
    [("1", {}, "1", "None"), ("2", {}, "2", "PASSIVE"), ("2", {"OMP_WAIT_POLICY": "ACTIVE"}, "3", "ACTIVE")],
)
def test_the_stages_of_a_sweep_have_it(
    project: Path, jobs: str, chosen: dict[str, str], epochs: str, expected: str
) -> None:
    variables = toy_environment(project) | chosen
    run(*microseg("sweep", "-S", f"train.epochs={epochs}", "--jobs", jobs), cwd=project, **variables)
    log = project / ".microseg" / "sweeps" / f"nall-e{epochs}.log"
    assert f"threads wait: {expected}" in log.read_text()
