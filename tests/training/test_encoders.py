"""A network around an encoder is trained like any: bit for bit, from where it was, each part at its own rate."""

import json
import shutil
import socket

import pytest
import torch

from microseg.common.files import file_digest
from microseg.network.devices import start
from microseg.network.environment import current_environment
from microseg.network.model_card import read_weights_origin
from microseg.network.model_io import describe, read_model, write_model
from microseg.network.networks import EncoderNetwork
from microseg.network.sliding_window import Tiling
from microseg.prediction.inference import predict
from microseg.training.fingerprint import fingerprint
from microseg.training.optimization import new_network, parameter_groups

from tiny_training import SMALL_ENCODER, assert_same, blobs, tiny_params, tiny_train, write_blobs

# The decoder of FPN leaves out channels at random: their choice has to be the same after an interruption.
SETTINGS = {
    "architecture": "fpn",
    "encoder": SMALL_ENCODER,
    "crop_size": 64,
    "crops_per_micrograph": 1,
    "lr": 0.01,
}


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=6)
    return tmp_path / "data"


@pytest.fixture
def brought(tmp_path):
    """A folder with weights for the encoder, as the stage encoder_weights would have written it."""
    folder = tmp_path / "brought"
    folder.mkdir()
    torch.manual_seed(3)
    torch.save(EncoderNetwork("fpn", SMALL_ENCODER).encoder.state_dict(), folder / "weights")
    origin = {"kind": "file", "encoder": SMALL_ENCODER, "name": "mine.pth", "licence": "CC0"}
    origin |= {"sha256": file_digest(folder / "weights")}
    (folder / "origin.json").write_text(json.dumps(origin))
    return folder


def encoder_of(weights):
    return {name: value for name, value in weights.items() if name.startswith("model.encoder.")}


def test_a_longer_training_goes_on_from_a_shorter_one_bit_for_bit(data, tmp_path):
    settings = SETTINGS | {"checkpoint_epochs": [1]}
    tiny_train(data, tmp_path / "one", epochs=1, **settings)
    extended = tiny_train(data, tmp_path / "one", epochs=2, **settings)
    at_once = tiny_train(data, tmp_path / "other", epochs=2, **settings)
    assert_same(extended, at_once)


def test_a_frozen_encoder_stays_as_it_was_to_the_bit(data, tmp_path, brought):
    state = tiny_train(data, tmp_path, encoder_weights=brought, epochs=2, encoder_lr_multiplier=0.0, **SETTINGS)
    given = torch.load(brought / "weights", weights_only=True)
    frozen = encoder_of(state.weights)
    assert {name.removeprefix("model.encoder.") for name in frozen} == given.keys()
    for name, value in frozen.items():
        assert torch.equal(value, given[name.removeprefix("model.encoder.")]), name
    untrained = new_network(tiny_params(encoder_lr_multiplier=0.0, **SETTINGS), 1, {}).state_dict()
    assert not any(
        torch.equal(value, state.weights[name]) for name, value in untrained.items() if "segmentation_head" in name
    )


def test_the_encoder_learns_with_its_own_share_of_the_rate(data, tmp_path):
    schedule = {"schedule": "cosine", "epochs": 2}
    state = tiny_train(data, tmp_path, encoder_lr_multiplier=0.25, **SETTINGS | schedule)
    rest, encoder = state.optimizer["param_groups"]
    assert encoder["lr"] == 0.25 * rest["lr"]
    assert 0 < rest["lr"] < 0.01
    assert state.records[-1].lr == rest["lr"]


def test_every_parameter_learns_in_one_group_and_a_frozen_encoder_in_none():
    network = new_network(tiny_params(**SETTINGS), 1, {})
    rest, encoder = parameter_groups(network, 0.5)
    assert set(encoder["params"]) == set(network.encoder.parameters())
    assert {*rest["params"], *encoder["params"]} == set(network.parameters())
    frozen = new_network(tiny_params(encoder_lr_multiplier=0.0, **SETTINGS), 1, {})
    (only,) = parameter_groups(frozen, 0.0)
    assert set(only["params"]) == set(frozen.parameters()) - set(frozen.encoder.parameters())
    assert len(parameter_groups(new_network(tiny_params(), 1, {}), 1.0)) == 1


def test_several_devices_do_not_wait_for_gradients_that_never_come():
    network = new_network(tiny_params(encoder="timm-tf_efficientnet_lite0", crop_size=64, devices=2), 1, {})
    idle = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    # What stands behind the features: the 1 x 1 convolution before the classifier, and its batch normalisation.
    assert idle == {f"model.encoder.{name}" for name in ("conv_head.weight", "bn2.weight", "bn2.bias")}


def test_what_a_training_starts_from_decides_its_name(data):
    files = [blobs(data, ["IMG_00001.png"])] * 2

    def name(first, **changes):
        return fingerprint(*files, tiny_params(**SETTINGS | changes), 1, "cpu", first_weights=first)

    first = {"model.encoder.x": torch.zeros(2)}
    names = {name({}), name(first), name({"model.encoder.x": torch.ones(2)}), name({"y": torch.zeros(2)})}
    names |= {
        name(first, encoder_lr_multiplier=0.0),
        name(first, architecture="unet"),
        name(first, encoder="resnet18"),
    }
    assert len(names) == 7
    assert name({}, encoder_weights="data/weights/mine.pth") == name({})


def test_a_trained_network_is_rebuilt_without_a_download_and_taken_up_again(data, tmp_path, brought, monkeypatch):
    params = tiny_params(epochs=1, **SETTINGS)
    state = tiny_train(data, tmp_path, encoder_weights=brought, epochs=1, **SETTINGS)
    fabric, files = start("cpu", "float32"), blobs(data, ["IMG_00001.png"])
    folder = tmp_path / "next" / "model"
    folder.mkdir(parents=True)
    origin = read_weights_origin(brought).on_the_card
    card = describe(1, 0.5, files, files, params, 1, current_environment(fabric), origin)
    write_model(folder, state.weights, card)

    def refuse(*_, **__):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    network, read = read_model(folder)
    assert (read.network, read.architecture, read.encoder) == ("EncoderNetwork", "fpn", SMALL_ENCODER)
    assert read.encoder_weights["name"] == "mine.pth"
    assert read.encoder_weights["licence"] == "CC0"
    assert read.encoder_weights["sha256"] == file_digest(brought / "weights")
    assert all(torch.equal(value, state.weights[name]) for name, value in network.state_dict().items())
    assert predict(network, torch.randn(1, 1, 50, 70), Tiling(48, 0.25)).shape == (1, 1, 50, 70)

    shutil.copy(brought / "origin.json", folder.parent)
    again = json.loads((folder.parent / "origin.json").read_text()) | {"kind": "model"}
    (folder.parent / "origin.json").write_text(json.dumps(again))
    # Adam's first step is as long as the learning rate: no weight is farther away than that.
    tuned = tiny_train(data, tmp_path, encoder_weights=folder.parent, **SETTINGS | {"epochs": 1, "lr": 1e-5})
    weights = [name for name, _ in network.named_parameters()]
    assert all(torch.allclose(tuned.weights[name], state.weights[name], atol=1e-4) for name in weights)
    assert any(not torch.equal(tuned.weights[name], state.weights[name]) for name in weights)
