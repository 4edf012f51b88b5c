"""params.yaml: every mistake is refused by the name of its key, and old names by the new ones."""

from itertools import pairwise
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from microseg.common.errors import InputError
from microseg.common.params import PARAMETER_KEYS
from microseg.common.params_file import RENAMED, RENAMED_VALUES, check_key, read_params, read_yaml

MANUAL = Path(__file__).parents[2] / "params.yaml"


def changed(tmp_path, old, new):
    text = MANUAL.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_the_manual_is_valid():
    assert read_params(MANUAL).train.base_channels >= 1


def test_every_key_has_a_sentence_above_it():
    lines = MANUAL.read_text(encoding="utf-8").splitlines()
    leaves = {key.rsplit(".", 1)[-1] for key in PARAMETER_KEYS}
    for before, line in pairwise(lines):
        key = line.strip().split(":")[0]
        if key in leaves and not line.strip().startswith("#"):
            assert before.strip().startswith("#") or key == "width", f"{key} has no comment above it"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs: ", "  epoch: 3\n  epochs: ", r"train\.epoch: unknown key; did you mean train\.epochs\?"),
        ("  lr: 0.004", "  lr: fast", r"train\.lr: .*valid number, found 'fast'"),
        ("  lr: 0.004", "  lr: -1", r"train\.lr: .*greater than 0, found -1"),
        ("  lr: 0.004", "  lr: .nan", r"train\.lr: .*finite"),
        ("  lr: 0.004", "", r"train\.lr: missing key"),
        ("test_size: 20", "test_size: 1.5", r"split: test_size is 1\.5, but a fraction is below 1"),
        ("  crop_size: 128", "  crop_size: 3", r"train\.crop_size: .*greater than or equal to 16, found 3"),
        ("  tile_size: null", "  tile_size: 100", r"predict\.tile_size: .*multiple of 16, found 100"),
        ("  from_column: null", "  from_column: 7", r"split\.from_column: .*string, found 7"),
        ("threshold: validation", "threshold: otzu", r"postprocess\.morphology_threshold: .*'otsu', found 'otzu'"),
        ("warmup_epochs: 1", "warmup_epochs: -1", r"train\.warmup_epochs: .*greater than or equal to 0, found -1"),
        ("  num_workers: auto", "  num_workers: many", r"train\.num_workers: .*'auto', found 'many'"),
        ("\nseed: 2021", "\nseed: 2021\nseed: 1", r'duplicate key "seed"'),
        ("\nseed: 2021", "\nseed: [", r"not valid YAML: .*line"),
    ],
)
def test_mistakes_are_refused_by_name(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        read_params(changed(tmp_path, old, new))


def of_version_0_1(tmp_path, key, value):
    """Write the manual with `key` set, in place of the parameter that has replaced it."""
    content = read_yaml(MANUAL, "missing")
    for name, change in ((RENAMED.get(key), "remove"), (key, "set")):
        *sections, leaf = (name or key).split(".")
        section = content
        for one in sections:
            section = section[one]
        if change == "remove" and name:
            del section[leaf]
        elif change == "set":
            section[leaf] = value
    path = tmp_path / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    return path


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_every_renamed_key_is_refused_with_its_new_name(tmp_path, old, new):
    path = of_version_0_1(tmp_path, old, "anything")
    with pytest.raises(InputError) as refusal:
        read_params(path)
    assert str(refusal.value) == f"{path}: {old} is called {new} now"
    with pytest.raises(InputError) as refusal:
        check_key(old)
    assert str(refusal.value) == f"{old} is called {new} now"
    assert new in PARAMETER_KEYS
    assert old not in PARAMETER_KEYS


def test_a_renamed_key_beside_the_new_one_is_refused_too(tmp_path):
    path = changed(tmp_path, "  checkpoint: ", "  keep: last\n  checkpoint: ")
    with pytest.raises(InputError) as refusal:
        read_params(path)
    assert str(refusal.value) == f"{path}: train.keep is called train.checkpoint now"


@pytest.mark.parametrize(("key", "old", "new"), [(*setting, new) for setting, new in RENAMED_VALUES.items()])
def test_every_renamed_value_is_refused_with_its_new_name(tmp_path, key, old, new):
    path = of_version_0_1(tmp_path, key, old)
    with pytest.raises(InputError) as refusal:
        read_params(path)
    assert str(refusal.value) == f"{path}: {key}: {old} is called {new} now"
    read_params(MANUAL, {key: new})


@pytest.mark.parametrize(
    ("schedule", "epochs", "decay_fraction", "most"),
    # A decay of 0.5 leaves 3 of 6 epochs, and one epoch of wsd decays whatever its fraction.
    [
        ("constant", 6, 0.5, 6),
        ("wsd", 6, 0.5, 3),
        ("wsd", 2, 0.9, 1),
        ("cosine", 6, 0.5, 5),
        ("one_cycle", 6, 0.5, 0),
    ],
)
def test_a_warmup_after_which_the_rate_is_not_reached_is_refused(schedule, epochs, decay_fraction, most):
    changes = {"schedule": schedule, "epochs": epochs, "decay_fraction": decay_fraction}
    changes = {f"train.{key}": value for key, value in changes.items()}
    assert read_params(MANUAL, changes | {"train.warmup_epochs": most}).train.warmup_epochs == most
    message = rf"train: warmup_epochs is {most + 1}, .* {schedule} and {epochs} epochs lr .* at most {most};"
    with pytest.raises(InputError, match=message):
        read_params(MANUAL, changes | {"train.warmup_epochs": most + 1})


def test_a_default_training_of_one_epoch_is_possible():
    assert read_params(MANUAL, {"train.epochs": 1}).train.warmup_epochs == 1


def test_a_crop_that_is_too_small_for_batch_normalization_is_refused():
    with pytest.raises(
        InputError, match=r"train: crop_size is 16, .* set crop_size to 32 or more, or norm_layer to none"
    ):
        read_params(MANUAL, {"train.crop_size": 16, "train.norm_layer": "batch"})
    assert read_params(MANUAL, {"train.crop_size": 16, "train.norm_layer": "none"}).train.crop_size == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "fpn"},
            r"architecture is fpn, but encoder plain is part of the U-Net; set architecture to unet",
        ),
        (
            {"encoder_lr_multiplier": 0.5},
            r"encoder_lr_multiplier is 0\.5, but has no effect with encoder plain; set it to 1\.0",
        ),
        ({"input_normalization": "imagenet"}, r"input_normalization imagenet has no effect with encoder plain"),
        (
            {"encoder": "resnet18", "activation_checkpointing": True},
            r"activation_checkpointing works only with encoder plain",
        ),
        ({"encoder": "resnet18", "crop_size": 48}, r"crop_size is 48, .* set crop_size to 64 or more"),
        (
            {"encoder": "resnet18", "encoder_lr_multiplier": 0.0},
            r"encoder_lr_multiplier 0 would freeze random weights; set encoder_weights",
        ),
        (
            {"encoder": "resnet18", "encoder_lr_multiplier": -1.0},
            r"train\.encoder_lr_multiplier: .*greater than or equal to 0, found -1",
        ),
    ],
)
def test_combinations_that_an_encoder_does_not_support_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read_params(MANUAL, {f"train.{key}": value for key, value in changes.items()})


def test_other_encoders_work_with_any_architecture():
    changes = {"train.encoder": "resnet18", "train.architecture": "fpn", "train.encoder_lr_multiplier": 0.0}
    changes |= {"train.encoder_weights": "micronet"}
    params = read_params(MANUAL, changes | {"train.input_normalization": "imagenet"}).train
    assert (params.architecture, params.encoder, params.encoder_lr_multiplier) == ("fpn", "resnet18", 0.0)


def test_a_number_as_dvc_writes_it(tmp_path):
    assert read_params(changed(tmp_path, "  lr: 0.004", "  lr: 1e-4")).train.lr == 1e-4


def test_an_empty_or_missing_file(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(InputError, match="the whole file"):
        read_params(tmp_path / "empty.yaml")
    with pytest.raises(InputError, match="no such parameter file"):
        read_params(tmp_path / "missing.yaml")


def test_parameters_cannot_be_changed_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        read_params(MANUAL).train.epochs = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.early_stopping_patience": 3}, r"train: early_stopping_patience .*decay of schedule wsd"),
        (
            {"download.crop_bottom": 60},
            r"download: crop_bottom .* source synthetic; set it to 0",
        ),
        (
            {"download.crop_bottom": 60, "download.source": "published"},
            r"download: crop_bottom .* source published",
        ),
        ({"split.fold": 1}, r"split: fold is 1, but has no effect without folds; set it to 0"),
        (
            {"predict.tta": "d4", "train.augment.flips": "hflip"},
            r"tta is d4, but .*set predict\.tta to hflip",
        ),
        ({"predict.tta": "hflip", "train.augment.flips": "none"}, r"predict\.tta is hflip, but .*tta to none"),
    ],
)
def test_what_would_have_no_effect_or_one_that_nobody_wants_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read_params(MANUAL, changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"train.early_stopping_patience": 3, "train.schedule": "constant"},
        {"download.crop_bottom": 60, "download.source": "folder"},
        {"split.fold": 1, "split.folds": 5},
        {"predict.tta": "d4"},
        {"predict.tta": "hflip", "train.augment.flips": "hflip"},
    ],
)
def test_the_same_is_accepted_where_it_acts(changes):
    read_params(MANUAL, changes)
