"""Networks with an encoder resume bit for bit, start from initial weights, and train it at its own rate."""

import json
import shutil
import socket

import pytest
import torch
from torch import nn

from microseg.common.files import file_digest
from microseg.network.devices import start
from microseg.network.environment import current_environment
from microseg.network.model_card import WeightsOrigin, read_weights_origin, write_weights_origin
from microseg.network.model_io import describe, read_model, write_model
from microseg.network.networks import EncoderNetwork
from microseg.network.sliding_window import Tiling
from microseg.prediction.inference import predict
from microseg.training.fingerprint import fingerprint
from microseg.training.optimization import new_network, parameter_groups

from tiny_training import SMALL_ENCODER, assert_same, blobs, tiny_params, tiny_train, write_blobs

# The decoder of FPN has dropout: it has to drop the same channels after an interruption.
SETTINGS = {
    "architecture": "fpn",
    "encoder": SMALL_ENCODER,
    "crop_size": 64,
    "crops_per_micrograph": 1,
    "lr": 0.01,
}
FROZEN = SETTINGS | {"encoder_lr_multiplier": 0.0, "encoder_weights": "data/weights/mine.pth"}


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=6)
    return tmp_path / "data"


@pytest.fixture
def fetched(tmp_path):
    """A folder with weights for the encoder, as the stage encoder_weights would have written it."""
    folder = tmp_path / "fetched"
    folder.mkdir()
    torch.manual_seed(3)
    torch.save(EncoderNetwork("fpn", SMALL_ENCODER).encoder.state_dict(), folder / "weights")
    digest = file_digest(folder / "weights")
    write_weights_origin(folder, WeightsOrigin("file", SMALL_ENCODER, "mine.pth", sha256=digest, licence="CC0"))
    return folder


def encoder_of(weights):
    return {name: value for name, value in weights.items() if name.startswith("model.encoder.")}


def test_a_longer_training_continues_a_shorter_one_bit_for_bit(data, tmp_path):
    settings = SETTINGS | {"checkpoint_epochs": [1]}
    tiny_train(data, tmp_path / "one", epochs=1, **settings)
    extended = tiny_train(data, tmp_path / "one", epochs=2, **settings)
    at_once = tiny_train(data, tmp_path / "other", epochs=2, **settings)
    assert_same(extended, at_once)


def test_a_frozen_encoder_keeps_every_bit(data, tmp_path, fetched):
    state = tiny_train(data, tmp_path, encoder_weights=fetched, epochs=2, encoder_lr_multiplier=0.0, **SETTINGS)
    given = torch.load(fetched / "weights", weights_only=True)
    frozen = encoder_of(state.weights)
    assert {name.removeprefix("model.encoder.") for name in frozen} == given.keys()
    for name, value in frozen.items():
        assert torch.equal(value, given[name.removeprefix("model.encoder.")]), name
    untrained = new_network(tiny_params(**FROZEN), 1, {}).state_dict()
    assert not any(
        torch.equal(value, state.weights[name]) for name, value in untrained.items() if "segmentation_head" in name
    )


def test_the_encoder_has_its_own_learning_rate(data, tmp_path):
    schedule = {"schedule": "cosine", "epochs": 2}
    state = tiny_train(data, tmp_path, encoder_lr_multiplier=0.25, **SETTINGS | schedule)
    rest, encoder = state.optimizer["param_groups"]
    assert encoder["lr"] == 0.25 * rest["lr"]
    assert 0 < rest["lr"] < 0.01
    assert state.records[-1].lr == rest["lr"]


def test_every_parameter_is_in_one_group_and_a_frozen_encoder_in_none():
    network = new_network(tiny_params(**SETTINGS), 1, {})
    rest, encoder = parameter_groups(network, 0.5)
    assert set(encoder["params"]) == set(network.encoder.parameters())
    assert {*rest["params"], *encoder["params"]} == set(network.parameters())
    frozen = new_network(tiny_params(**FROZEN), 1, {})
    (only,) = parameter_groups(frozen, 0.0)
    assert set(only["params"]) == set(frozen.parameters()) - set(frozen.encoder.parameters())
    assert len(parameter_groups(new_network(tiny_params(), 1, {}), 1.0)) == 1


def test_biases_and_normalizations_do_not_decay():
    for params in (tiny_params(norm_layer="batch"), tiny_params(**SETTINGS)):
        network = new_network(params, 1, {})
        decay = {
            parameter: group["weight_decay"]
            for group in parameter_groups(network, 0.5, 0.01)
            for parameter in group["params"]
        }
        for name, layer in network.named_modules():
            for kind, parameter in layer.named_parameters(recurse=False):
                is_kernel = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and kind == "weight"
                assert decay.pop(parameter) == (0.01 if is_kernel else 0.0), (name, kind)
        assert not decay


def test_several_devices_do_not_wait_for_gradients_that_never_come():
    network = new_network(tiny_params(encoder="timm-tf_efficientnet_lite0", crop_size=64, devices=2), 1, {})
    idle = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    # The layers after the features: the 1 x 1 convolution before the classifier, and its batch normalization.
    assert idle == {f"model.encoder.{name}" for name in ("conv_head.weight", "bn2.weight", "bn2.bias")}


def test_initial_weights_change_the_fingerprint(data):
    files = [blobs(data, ["IMG_00001.png"])] * 2

    def name(weights, **changes):
        return fingerprint(*files, tiny_params(**SETTINGS | changes), 1, "cpu", initial_weights=weights)

    first = {"model.encoder.x": torch.zeros(2)}
    names = {name({}), name(first), name({"model.encoder.x": torch.ones(2)}), name({"y": torch.zeros(2)})}
    names |= {
        name(first, encoder_lr_multiplier=0.0, encoder_weights="data/weights/mine.pth"),
        name(first, architecture="unet"),
        name(first, encoder="resnet18"),
    }
    assert len(names) == 7
    assert name({}, encoder_weights="data/weights/others.pth") == name({})


def test_a_trained_network_is_rebuilt_without_a_download_and_trained_further(data, tmp_path, fetched, monkeypatch):
    params = tiny_params(epochs=1, **SETTINGS)
    state = tiny_train(data, tmp_path, encoder_weights=fetched, epochs=1, **SETTINGS)
    fabric, files = start("cpu", "float32"), blobs(data, ["IMG_00001.png"])
    folder = tmp_path / "next" / "model"
    folder.mkdir(parents=True)
    origin = read_weights_origin(fetched).card_entry
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
    assert read.encoder_weights["sha256"] == file_digest(fetched / "weights")
    assert all(torch.equal(value, state.weights[name]) for name, value in network.state_dict().items())
    assert predict(network, torch.randn(1, 1, 50, 70), Tiling(48, 0.25)).shape == (1, 1, 50, 70)

    shutil.copy(fetched / "origin.json", folder.parent)
    again = json.loads((folder.parent / "origin.json").read_text()) | {"kind": "model"}
    (folder.parent / "origin.json").write_text(json.dumps(again))
    # Adam's first step is as long as the learning rate: no weight moves farther.
    tuned = tiny_train(data, tmp_path, encoder_weights=folder.parent, **SETTINGS | {"epochs": 1, "lr": 1e-5})
    weights = [name for name, _ in network.named_parameters()]
    assert all(torch.allclose(tuned.weights[name], state.weights[name], atol=1e-4) for name in weights)
    assert any(not torch.equal(tuned.weights[name], state.weights[name]) for name in weights)


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "pan"])
def test_an_epoch_may_leave_a_single_crop_over(data, tmp_path, architecture):
    # 4 crops in batches of 3, and batch normalizations of features that are pooled to one value a crop.
    settings = SETTINGS | {"architecture": architecture, "batch_size": 3}
    assert tiny_train(data, tmp_path, epochs=1, **settings).records[0].train_loss > 0
