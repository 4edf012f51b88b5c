import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from microseg.common.errors import InputError
from microseg.common.params_file import flat_params, read_params
from microseg.experiments.settings import build_grid, preset_options, read_preset

from pipeline_files import ROOT
from project_copy import environment

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
PARAMS = ROOT / "params.yaml"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_accepted_and_begins_with_its_purpose(preset):
    values = flat_params(PARAMS, read_preset(preset))
    (experiment,) = build_grid(preset_options(preset, PARAMS)[1::2], PARAMS)
    assert experiment.values == values != flat_params(PARAMS)
    assert preset.read_text(encoding="utf-8").startswith("# ")


def test_the_study_has_its_own_settings():
    study = read_params(PARAMS, read_preset(ROOT / "presets" / "study.yaml")).train
    assert (study.base_channels, study.lr, study.loss, study.crop_size, study.epochs) == (
        64,
        1e-4,
        "bce",
        None,
        20,
    )
    assert study.batch_size * study.accumulate_grad_batches == 16
    assert (study.norm_layer, study.schedule, study.input_normalization) == ("none", "constant", "none")


def test_a_shell_passes_each_setting_to_dvc_unchanged(tmp_path):
    values = {"train.lr": 1e-5, "train.crop_size": None, "train.checkpoint_epochs": [5, 10], "train.compile": True}
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    (tmp_path / "own.yaml").write_text(
        "train: {lr: 1e-5, crop_size: null, checkpoint_epochs: [5, 10], compile: true}\n"
    )
    for command in (("git", "init", "-q"), ("dvc", "init", "-q")):
        subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    (tmp_path / "dvc.yaml").write_text(
        "stages: {all: {cmd: cp params.yaml seen, params: [train.lr, train.crop_size], "
        "outs: [seen: {cache: false}]}}\n"
    )
    for command in (("git", "add", "-A"), ("git", "commit", "-qm", "x")):
        subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    run = f"dvc exp run -q $({sys.executable} -m microseg.console.program preset own.yaml)"
    here = environment(PYTHONPATH=str(ROOT / "src"))
    subprocess.run(["bash", "-c", run], cwd=tmp_path, env=here, check=True)  # a shell is what is tested
    seen = YAML(typ="safe", pure=True).load(tmp_path / "seen")
    assert {key: seen[key.split(".")[0]][key.split(".")[1]] for key in values} == values


def test_values_that_an_earlier_experiment_left_are_named_beside_the_preset(tmp_path):
    committed = PARAMS.read_text()
    (tmp_path / "params.yaml").write_text(committed)
    (tmp_path / "own.yaml").write_text("train: {lr: 1e-5}\n")
    command = [sys.executable, "-m", "microseg.console.program", "preset", "own.yaml"]

    def preset() -> subprocess.CompletedProcess[str]:
        here = environment(PYTHONPATH=str(ROOT / "src"))
        done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=True)
        assert done.stdout == "-S train.lr=1e-05\n"
        return done

    assert not preset().stderr, "there is no commit to compare with"
    for git in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "x")):
        subprocess.run(("git", *git), cwd=tmp_path, env=environment(), check=True)
    assert not preset().stderr
    left = committed.replace("encoder: plain", "encoder: resnet34").replace("lr: 0.004", "lr: 0.001")
    (tmp_path / "params.yaml").write_text(left)
    assert "params.yaml has uncommitted values of train.encoder, as `dvc exp run" in preset().stderr
    (tmp_path / "params.yaml").write_text("train: [")
    subprocess.run(("git", "commit", "-qam", "not valid YAML"), cwd=tmp_path, env=environment(), check=True)
    (tmp_path / "params.yaml").write_text(left)
    assert not preset().stderr, "there is nothing to compare with"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: {epoch: 3}", r"own\.yaml: train\.epoch: unknown key; did you mean train\.epochs\?"),
        ("train: {epochs: 0}", r"own\.yaml: .*train\.epochs: .*greater than or equal to 1"),
        (
            "download: {path: my micrographs}",
            r"own\.yaml: download\.path: 'my micrographs' cannot be passed on a command line",
        ),
        ("", r"own\.yaml: has no settings"),
        ("[", r"own\.yaml: not valid YAML"),
    ],
)
def test_values_that_params_yaml_cannot_take_are_refused_by_key(tmp_path, content, message):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        preset_options(tmp_path / "own.yaml", PARAMS)


def test_a_missing_preset_is_an_error_that_says_where_they_are(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: no such preset; those of this project are in .* presets"):
        read_preset(tmp_path / "none.yaml")
