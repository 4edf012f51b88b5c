"""A team's cache: what one has computed, the others get from a folder or from S3 without running a stage."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from project_copy import commit, outputs, run, set_params, stages_run

REGION, BUCKET = "us-east-1", "team"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    access = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    boto3.client("s3", endpoint_url=address, region_name=REGION, **access).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


class Team:
    """A bare repository and a remote that all clones share."""

    def __init__(self, folder: Path, remote: str, endpoint: str | None) -> None:
        self.folder, self.remote, self.endpoint = folder, remote, endpoint
        self.bare = folder / "bare.git"
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), cwd=folder)

    def publish(self, project: Path) -> None:
        """Let the first member push the project, with the remote in its committed settings."""
        run("dvc", "remote", "add", "--default", "team", self.remote, cwd=project)
        commit(project, "remote of the team")
        self.settle(project)
        run("git", "remote", "add", "origin", str(self.bare), cwd=project)
        run("git", "push", "--quiet", "origin", "main", cwd=project)
        run("dvc", "push", "--run-cache", cwd=project)

    def clone(self, name: str) -> Path:
        """Let another member clone the project, with settings and checkpoints of their own."""
        run("git", "clone", "--quiet", str(self.bare), name, cwd=self.folder)
        self.settle(self.folder / name)
        return self.folder / name

    def settle(self, project: Path) -> None:
        """Store the access to the remote where git does not see it."""
        if self.endpoint:
            access = f"endpointurl={self.endpoint}\nregion={REGION}\naccess_key_id=test\nsecret_access_key=test\n"
            (project / ".dvc" / "config.local").write_text(f"['remote \"team\"']\n{access}")
        assert not run("git", "status", "--porcelain", cwd=project).stdout


@pytest.fixture
def team(request: pytest.FixtureRequest, tmp_path: Path) -> Team:
    if request.param == "folder":
        return Team(tmp_path, str(tmp_path / "remote"), None)
    return Team(tmp_path, f"s3://{BUCKET}/{tmp_path.name}", request.getfixturevalue("s3_server"))


def start_from_the_inbox(project: Path) -> None:
    """Let the first member put the same micrographs into data/inbox, and run what depends on where they are."""
    inbox = project / "data" / "inbox"
    shutil.copytree(project / "data" / "raw" / "images", inbox / "images")
    shutil.copy2(project / "data" / "raw" / "annotations.csv", inbox)
    set_params(project, {"download.source": "folder"})
    refused = run("dvc", "repro", "--single-item", "download", cwd=project, check=False).stdout
    (command,) = re.findall(r"type: (dvc add .*) and start again", refused)
    run(*command.split(), cwd=project)
    run("dvc", "repro", cwd=project)


@pytest.mark.parametrize("team", ["folder"], indirect=True)
def test_a_colleague_gets_ones_own_micrographs(team: Team, project: Path):
    start_from_the_inbox(project)
    team.publish(project)
    colleague = team.clone("colleague")
    run("dvc", "pull", cwd=colleague)
    assert outputs(colleague) == outputs(project)

    # Micrographs that are missing are said to be, and cost nothing that is there.
    (colleague / "data" / "inbox" / "images").rename(colleague / "elsewhere")
    missing = run("dvc", "repro", cwd=colleague, check=False)
    assert missing.returncode
    assert "missing data 'source': data/inbox/images" in missing.stdout
    assert (colleague / "data" / "raw" / "annotations.csv").is_file()
    (colleague / "elsewhere").rename(colleague / "data" / "inbox" / "images")
    assert "up to date" in run("dvc", "repro", cwd=colleague).stdout


@pytest.mark.parametrize("team", ["s3"], indirect=True)
def test_the_colleagues_walk(team: Team, project: Path, finished: Path):
    team.publish(project)
    assert_no_credentials_in_git(project)

    # One command brings every model, mask and figure, and nothing is left to run.
    colleague = team.clone("colleague")
    run("dvc", "pull", cwd=colleague)
    assert outputs(colleague) == outputs(finished)
    assert "up to date" in run("dvc", "repro", cwd=colleague).stdout

    # The first one runs two experiments and shares them: through git what they are, through the remote their data.
    results = {}
    for name, setting in (("longer", "train.epochs=3"), ("closed", "postprocess.closing_radius=1")):
        run("dvc", "exp", "run", "--name", name, "-S", setting, cwd=project)
        results[name] = outputs(project)
        run("git", "checkout", "--quiet", ".", cwd=project)
    run("dvc", "exp", "push", "--run-cache", "origin", *results, cwd=project)

    # The colleague asks for the same parameters: the training is restored, not repeated.
    run("dvc", "pull", "--run-cache", cwd=colleague)
    set_params(colleague, {"train.epochs": 3})
    done = run("dvc", "repro", "--pull", cwd=colleague)
    assert "Stage 'train' is cached" in done.stdout
    assert not {"train", "predict", "postprocess"} & set(stages_run(done.stdout))
    assert len((colleague / "plots" / "train.csv").read_text().splitlines()) == 1 + 3
    run("git", "checkout", "--quiet", ".", cwd=colleague)

    # Or takes over the whole experiment by its name.
    run("dvc", "exp", "pull", "origin", "closed", cwd=colleague)
    run("dvc", "exp", "apply", "closed", cwd=colleague)
    assert outputs(colleague) == results["closed"] != outputs(finished)
    assert "up to date" in run("dvc", "repro", cwd=colleague).stdout
    run("git", "checkout", "--quiet", ".", cwd=colleague)
    run("dvc", "checkout", cwd=colleague)

    # The colleague's own experiment comes back the same way.
    run("dvc", "exp", "run", "--name", "mine", "-S", "postprocess.opening_radius=1", cwd=colleague)
    run("dvc", "exp", "push", "origin", "mine", cwd=colleague)
    run("dvc", "exp", "pull", "origin", "mine", cwd=project)
    run("dvc", "exp", "apply", "mine", cwd=project)
    theirs = json.loads((colleague / "metrics" / "evaluation.json").read_text())
    assert json.loads((project / "metrics" / "evaluation.json").read_text()) == theirs


def assert_no_credentials_in_git(project: Path) -> None:
    settings = run(
        "git", "grep", "--ignore-case", "-e", "access_key", "-e", "endpointurl", cwd=project, check=False
    )
    assert not [line for line in settings.stdout.splitlines() if line.startswith(".dvc/")]
