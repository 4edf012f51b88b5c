"""dvc.yaml tells all a stage depends on, and dvc.lock was written by this very tree."""

import hashlib
import json
import re
import shlex
from pathlib import Path

import pytest

from microseg.common.params import PARAMETER_KEYS

from pipeline_files import ROOT, STAGES, code_of, imported_files, package_of, parameters_of, read_yaml, script_of

LOCK = read_yaml("dvc.lock")["stages"]

SINGLE_FILES = ("encoder_weights", "train")
"""Stages that list single modules of a package where the others cannot change their result."""


def value_of(parameter):
    value = read_yaml("params.yaml")
    for part in parameter.split("."):
        value = value[part]
    return value


def test_the_eight_stages_in_order_and_the_optional_one_before_train():
    assert list(STAGES) == [
        *("download", "parse_csv", "rasterize_masks", "split"),
        "encoder_weights",
        *("train", "predict", "postprocess", "evaluate"),
    ]
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {*STAGES, "bootstrap"}


def code_dependencies(stage):
    return {path for path in STAGES[stage]["deps"] if path.startswith(("stages/", "src/"))}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in SINGLE_FILES])
def test_the_script_and_every_package_it_uses_are_dependencies_and_no_other(stage):
    code = code_of(script_of(stage))
    assert code_dependencies(stage) == {package_of(file) if file.startswith("src/") else file for file in code}


@pytest.mark.parametrize("stage", SINGLE_FILES)
def test_some_depend_on_packages_or_on_single_modules_of_them_and_on_no_other(stage):
    code, listed = code_of(script_of(stage)), code_dependencies(stage)
    covered = {path: {file for file in code if file == path or file.startswith(f"{path}/")} for path in listed}
    assert set().union(*covered.values()) == code
    assert all(covered.values())


def test_a_module_that_is_missing_from_the_dependencies_is_found(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("def main():\n    from microseg.prediction import logits\n")
    assert {str(path.relative_to(ROOT / "src")) for path in imported_files(script)} == {
        "microseg/__init__.py",
        "microseg/prediction/__init__.py",
        "microseg/prediction/logits.py",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_new_versions_of_the_libraries_run_a_stage_again(stage):
    assert "requirements.lock" in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_a_script_uses_is_listed_its_own_section_as_a_whole(stage):
    listed, used = STAGES[stage].get("params", []), parameters_of(script_of(stage), PARAMETER_KEYS)
    assert used <= {key for key in PARAMETER_KEYS for one in listed if f"{key}.".startswith(f"{one}.")}
    assert set(listed) - {stage} <= used


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_in_the_command_is_a_dependency_or_an_output(stage):
    definition = STAGES[stage]
    outputs = [name for kind in ("outs", "metrics", "plots") for name in definition.get(kind, [])]
    named = [next(iter(name)) if isinstance(name, dict) else name for name in outputs] + definition["deps"]
    paths = [word for word in definition["cmd"].split() if "/" in word and "=" not in word]
    assert paths
    for path in paths:
        assert path in named or any(name.startswith(f"{path}/") for name in named), path


@pytest.mark.parametrize("file", ["dvc.yaml", "segment/dvc.yaml"])
def test_a_parameter_in_a_command_is_quoted_so_that_its_folder_may_have_any_name(file):
    commands = [(one.get("do") or one)["cmd"] for one in read_yaml(file)["stages"].values()]
    words = [word for command in commands for word in shlex.split(command, posix=False) if "${" in word]
    assert words
    # The options of a batch are several words.
    assert [word for word in words if not re.fullmatch(r'".*"', word)] in ([], ["${item.options}"])


def outputs_of(stage):
    names = [name for kind in ("outs", "metrics", "plots") for name in STAGES[stage].get(kind, [])]
    return [next(iter(name)) if isinstance(name, dict) else name for name in names]


@pytest.mark.parametrize("stage", STAGES)
def test_of_what_an_experiment_makes_anew_a_stage_takes_whole_folders(stage):
    """Where the stage before comes from the run cache, DVC looks for a part in the folder of the last commit.

    It fails if that folder is in no cache, as after a clone without `dvc pull`. The first stage is looked up
    before that.
    """
    made = [name for other in STAGES if other != "download" for name in outputs_of(other)]
    assert not [path for path in STAGES[stage]["deps"] for name in made if path.startswith(f"{name}/")]


def test_no_two_stages_write_into_one_place():
    places = [name for stage in STAGES for name in outputs_of(stage)]
    assert len(places) == len(set(places))
    for place in places:
        assert not any(Path(place) in Path(other).parents for other in places)


def test_the_pipeline_can_be_read_at_once():
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_described(stage):
    assert len(STAGES[stage]["desc"]) > 20


def test_everything_train_writes_is_cached():
    definition = STAGES["train"]
    for kind in ("outs", "metrics", "plots"):
        for output in definition.get(kind, []):
            assert isinstance(output, str) or output[next(iter(output))].get("cache", True)


@pytest.mark.parametrize("stage", STAGES)
def test_the_lock_file_is_true(stage):
    locked = LOCK[stage]
    assert set(locked["params"]["params.yaml"] if "params" in locked else []) == set(
        STAGES[stage].get("params", [])
    )
    for parameter, value in locked.get("params", {}).get("params.yaml", {}).items():
        assert value == value_of(parameter), f"dvc.lock has another {parameter} than params.yaml: run dvc repro"
    digests = {entry["path"]: entry["md5"] for entry in locked["deps"]}
    listed = {path.replace("${download.path}", value_of("download.path")) for path in STAGES[stage]["deps"]}
    assert set(digests) == listed
    for path in {*code_dependencies(stage), "requirements.lock"}:
        assert digests[path] == dvc_digest(ROOT / path), (
            f"{path} has changed since dvc.lock was written: run dvc repro and commit dvc.lock"
        )


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def dvc_digest(path):
    """Return what DVC notes in dvc.lock: the MD5 of a file, or that of the list of a folder's files."""
    if path.is_file():
        return md5(path.read_bytes())
    files = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    entries = sorted((file.relative_to(path).as_posix(), md5(file.read_bytes())) for file in files)
    return md5(json.dumps([{"md5": digest, "relpath": name} for name, digest in entries]).encode()) + ".dir"
