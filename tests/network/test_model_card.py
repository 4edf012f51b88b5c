import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import version

import pytest
import torch
from safetensors.torch import load_file

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.network.devices import start
from microseg.network.environment import current_environment
from microseg.network.model_card import read_card
from microseg.network.model_io import describe, read_model, write_model
from microseg.network.unet import UNet

from tiny_training import ROOT, blobs, tiny_params


@pytest.fixture
def card(tmp_path):
    training, validation = blobs(tmp_path, ["a.png", "b.png"]), blobs(tmp_path, ["c.png"])
    used = current_environment(start("cpu", "float32"))
    return describe(3, 0.7, training, validation, tiny_params(precision="auto", accelerator="auto"), 5, used)


@pytest.fixture
def model(tmp_path, card):
    folder = tmp_path / "models"
    folder.mkdir()
    torch.manual_seed(0)
    write_model(folder, UNet(2).state_dict(), card)
    return folder


def test_a_model_comes_back_with_its_weights_and_its_card(model, card):
    network, read = read_model(model)
    torch.manual_seed(0)
    expected = UNet(2).state_dict()
    assert all(torch.equal(weights, expected[name]) for name, weights in network.state_dict().items())
    assert not network.training
    assert (read.epoch, read.validation_iou, read.seed) == (3, 0.7, 5)
    assert (read.training_micrographs, read.validation_micrographs) == (("a.png", "b.png"), ("c.png",))
    assert read.training == card.training
    assert read.environment == card.environment


def test_the_card_names_the_foreground(model, card):
    assert read_card(model).foreground is None
    write_model(model, UNet(2).state_dict(), replace(card, foreground=("network", "Widmanstätten")))
    assert read_card(model).foreground == ("network", "Widmanstätten")


def test_the_identity_of_a_model_is_read_without_torch(model):
    code = (
        "import sys; from pathlib import Path; from microseg.network.model_card import model_identity, read_card; "
    )
    code += f"card = model_identity(read_card(Path({str(model)!r}))); "
    code += "print(card['epoch'], card['training_micrographs'], len(card['weights']), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["3", "2", "16", "False"]


def test_the_card_has_what_was_used_where_the_parameters_say_auto(card):
    assert (card.training["precision"], card.training["accelerator"]) == ("float32", "cpu")
    assert not {"num_workers", "checkpoint_epochs", "pixel_size_um"} & card.training.keys()
    assert card.environment.precision == "float32"
    assert f"{torch.get_num_threads()} threads" in card.environment.device
    for name in ("numpy", "scipy", "lightning-fabric"):
        assert f"{name} {version(name)}" in card.environment.libraries
    assert f"torch {torch.__version__}" in card.environment.libraries
    assert "auto" not in asdict(card.environment).values()


def test_a_network_comes_back_with_its_running_statistics(tmp_path, card):
    network = UNet(2, norm_layer="batch")
    network(torch.randn(2, 1, 32, 32))
    write_model(tmp_path, network.state_dict(), replace(card, norm_layer="batch"))
    back, _ = read_model(tmp_path)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in back.state_dict().items())


def test_a_model_older_than_encoders_and_batch_normalization_is_read(model, tmp_path):
    content = json.loads((model / "model.json").read_text())
    content["normalization"] = content.pop("input_normalization")
    for newer in ("norm_layer", "architecture", "encoder", "encoder_weights"):
        del content[newer]
    older = tmp_path / "older"
    older.mkdir()
    weights = load_file(model / "model.safetensors")
    torch.save(weights, older / "unet.pt")
    content["weights_sha256"] = file_digest(older / "unet.pt")
    (older / "unet.json").write_text(json.dumps(content))
    network, card = read_model(older)
    assert (card.input_normalization, card.norm_layer) == ("zscore", "none")
    assert (card.architecture, card.encoder, card.encoder_weights) == ("unet", "plain", {"kind": "none"})
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_the_card_has_the_downsampling_and_older_ones_without_it_have_none(tmp_path, model, card):
    write_model(tmp_path, UNet(2).state_dict(), replace(card, downsample=2.5))
    assert read_model(tmp_path)[1].downsample == 2.5
    content = json.loads((model / "model.json").read_text())
    assert content.pop("downsample") == 1.0
    (model / "model.json").write_text(json.dumps(content))
    assert read_model(model)[1].downsample == 1.0


def test_the_downsampling_of_the_card_is_that_of_the_training(tmp_path, card):
    files = blobs(tmp_path, ["a.png"])
    assert describe(3, 0.7, files, files, tiny_params(downsample=3), 5, card.environment).downsample == 3.0


def test_the_file_of_weights_holds_only_weights_and_the_card_is_plain_json(model):
    assert set(load_file(model / "model.safetensors")) == set(UNet(2).state_dict())
    assert json.loads((model / "model.json").read_text())["base_channels"] == 2


def test_equal_weights_give_equal_bytes_wherever_they_are_written(model, card, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    torch.manual_seed(0)
    write_model(other, UNet(2).state_dict(), card)
    for name in ("model.safetensors", "model.json"):
        assert (model / name).read_bytes() == (other / name).read_bytes()


def test_no_path_of_this_machine_is_in_it(model, tmp_path):
    assert str(tmp_path) not in (model / "model.json").read_text()
    assert str(tmp_path).encode() not in (model / "model.safetensors").read_bytes()


def test_a_missing_model_is_refused_with_the_stage_to_run(tmp_path):
    with pytest.raises(InputError, match=r"model\.json: no such model card; run the stage train"):
        read_model(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"epoch": 3}', '{"training_micrographs": [], "colour": 1}'])
def test_other_files_in_place_of_the_card_are_refused(model, content):
    (model / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json: not a model card"):
        read_model(model)


def test_weights_of_another_card_are_refused(model):
    (model / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"model\.safetensors: not the weights that .*model\.json describes"):
        read_model(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: not the weights"):
        read_model(model)
