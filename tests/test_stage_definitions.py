"""dvc.yaml tells all a stage depends on, and dvc.lock was written by this very tree."""

import hashlib
from pathlib import Path

import pytest

from microseg.params import PARAMETER_KEYS

from pipeline_files import ROOT, STAGES, code_of, parameters_of, read_yaml, script_of

LOCK = read_yaml("dvc.lock")["stages"]


def value_of(parameter):
    value = read_yaml("params.yaml")
    for part in parameter.split("."):
        value = value[part]
    return value


def test_the_eight_stages_in_order():
    assert list(STAGES) == [
        *("download", "parse_csv", "rasterize_masks", "split"),
        *("train", "predict", "postprocess", "evaluate"),
    ]
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {*STAGES, "agreement"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_a_script_imports_is_a_dependency(stage):
    listed = {path for path in STAGES[stage]["deps"] if path.endswith(".py")}
    assert listed == code_of(script_of(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_a_script_uses_is_listed_leaf_by_leaf(stage):
    assert set(STAGES[stage].get("params", [])) == parameters_of(script_of(stage), PARAMETER_KEYS)


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_in_the_command_is_a_dependency_or_an_output(stage):
    definition = STAGES[stage]
    outputs = [name for kind in ("outs", "metrics", "plots") for name in definition.get(kind, [])]
    named = [next(iter(name)) if isinstance(name, dict) else name for name in outputs] + definition["deps"]
    paths = [word for word in definition["cmd"].split() if "/" in word and "=" not in word]
    assert paths
    for path in paths:
        assert path in named or any(name.startswith(f"{path}/") for name in named), path


def test_no_two_stages_write_into_one_place():
    places = []
    for definition in STAGES.values():
        for kind in ("outs", "metrics", "plots"):
            places += [next(iter(n)) if isinstance(n, dict) else n for n in definition.get(kind, [])]
    assert len(places) == len(set(places))
    for place in places:
        assert not any(Path(place) in Path(other).parents for other in places)


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
    code = {entry["path"]: entry["md5"] for entry in locked["deps"] if entry["path"].endswith(".py")}
    assert set(code) == code_of(script_of(stage))
    for path, md5 in code.items():
        content = (ROOT / path).read_bytes()
        assert md5 == hashlib.md5(content, usedforsecurity=False).hexdigest(), (
            f"{path} has changed since dvc.lock was written: run dvc repro and commit dvc.lock"
        )
