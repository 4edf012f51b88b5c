"""The table of published encoders agrees with segmentation_models_pytorch; unknown encoders are refused."""

import importlib.util
import re
from pathlib import Path

import pytest
import timm

from microseg.common.errors import InputError
from microseg.sources.pretrained_weights import PRETRAININGS, TABLE, encoder_file

EMBEDDED = "timm-tf_efficientnet_lite0"


def encoders_with(weights):
    return [line.split(",")[1] for line in TABLE.read_text().splitlines() if line.startswith(f"{weights},")]


def test_weights_from_imagenet_are_those_that_the_library_pins():
    # Read as text: importing the library takes seconds.
    (library,) = importlib.util.find_spec("segmentation_models_pytorch").submodule_search_locations
    code = "".join(path.read_text(encoding="utf-8") for path in Path(library, "encoders").glob("*.py"))
    pinned = dict(re.findall(r'"repo_id": "smp-hub/([^"]+)\.imagenet",\s*"revision": "(\w+)"', code))
    assert len(pinned) > 60
    assert pinned.pop(EMBEDDED)
    listed = [encoder_file("imagenet", name) for name in encoders_with("imagenet") if name != EMBEDDED]
    assert {file.encoder: file.version for file in listed} == pinned
    for file in listed:
        repository = f"https://huggingface.co/smp-hub/{file.encoder}.imagenet"
        assert file.address == f"{repository}/resolve/{file.version}/model.safetensors"
    for encoder in {*encoders_with("micronet"), *encoders_with("imagenet-micronet")}:
        assert f'"{encoder}": {{' in code


@pytest.mark.parametrize("weights", PRETRAININGS)
def test_every_line_is_a_different_file(weights):
    names = encoders_with(weights)
    assert len(names) == len(set(names))
    files = [encoder_file(weights, name) for name in names]
    addresses = {file.address for file in files}
    assert len(addresses) == len(files)
    for file in files:
        assert file.encoder != EMBEDDED or file.sha256
        assert file.address is None or re.fullmatch(r"https://[\w./-]+", file.address)
        assert file.version
        assert file.licence
        assert (file.size is None) == (file.sha256 is None)


def test_versions_are_those_of_the_authors_program():
    newest = encoder_file("micronet", "resnet50")
    assert newest.address == (
        "https://nasa-public-data.s3.amazonaws.com/microscopy_segmentation_models/"
        "resnet50_pretrained_microscopynet_v1.1.pth.tar"
    )
    assert (newest.version, newest.size) == ("1.1", 102_546_991)
    both = encoder_file("imagenet-micronet", "resnet50")
    assert (both.version, both.name) == ("1.0", "resnet50_pretrained_imagenet-microscopynet_v1.0.pth.tar")
    odd = encoder_file("micronet", "resnext101_32x8d")
    assert odd.name == "resnext101_pretrained_microscopynet_v1.0.pth.tar"


def test_an_encoder_without_such_weights_is_refused_with_those_that_have_them():
    with pytest.raises(InputError) as caught:
        encoder_file("micronet", "mit_b0")
    assert "params.yaml: train.encoder_weights: there are no micronet weights for the encoder 'mit_b0'" in str(
        caught.value
    )
    assert "se_resnext50_32x4d" in str(caught.value)
    with pytest.raises(InputError, match=r"'resnet_50'; did you mean resnet50\?"):
        encoder_file("imagenet", "resnet_50")


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        *((f"timm-tf_efficientnet_lite{n}", f"tf_efficientnet_lite{n}") for n in range(5)),
        *((f"timm-efficientnet-b{n}", f"tf_efficientnet_b{n}") for n in range(8)),
        ("timm-efficientnet-b8", "tf_efficientnet_b8.ra_in1k"),
        *(("inceptionv4", "inception_v4"), ("inceptionresnetv2", "inception_resnet_v2")),
        *(("xception", "legacy_xception"), ("dpn68", "dpn68"), ("senet154", "legacy_senet154")),
        *(("resnet50", "resnet50"), ("timm-skresnet18", "skresnet18"), ("densenet121", "densenet121")),
    ],
)
def test_the_normalization_is_the_one_that_timm_has_for_the_same_weights(encoder, name):
    found, expected = encoder_file("imagenet", encoder).pretraining, timm.get_pretrained_cfg(name)
    assert found.mean == pytest.approx(expected.mean, abs=1e-4)
    assert found.std == pytest.approx(expected.std, abs=1e-4)
    assert found.tensorflow == name.startswith("tf_")


def test_encoders_trained_on_micrographs_are_normalized_as_their_program_did():
    for encoder in encoders_with("micronet"):
        mean = encoder_file("micronet", encoder).pretraining.mean
        odd = {"inceptionv4", "inceptionresnetv2", "xception"}
        assert (mean == [0.5, 0.5, 0.5]) == (encoder in odd)
        assert encoder_file("imagenet-micronet", encoder).pretraining.mean == mean
