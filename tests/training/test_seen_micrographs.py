"""A model's folder holds what its training micrographs look like, and how unsure its network is."""

import torch

from microseg.micrographs.images import read_micrograph
from microseg.network.appearance import ENTROPY, QUANTITIES, entropy, looks_of, pixel_digest, read_appearance
from microseg.network.devices import start
from microseg.network.inputs import network_input
from microseg.network.model_card import read_model
from microseg.network.resolution import enlarged
from microseg.training.seen_micrographs import write_appearance

from drawn_micrographs import write_tiny_model
from tiny_training import blobs, write_blobs


def test_what_was_trained_on_is_written_beside_the_model(tmp_path):
    names = write_blobs(tmp_path, count=4)
    model = write_tiny_model(tmp_path / "model")
    write_appearance(start("cpu", "float32"), model, blobs(tmp_path, names[:3]), blobs(tmp_path, names[3:]))
    appearance = read_appearance(model)
    micrographs = [read_micrograph(tmp_path / "images" / name) for name in names]
    assert set(appearance.ranges) == set(QUANTITIES)
    noise = [looks_of(micrograph)["noise"] for micrograph in micrographs[:3]]
    assert appearance.ranges["noise"] == (min(noise), max(noise))
    low, high = appearance.ranges[ENTROPY]
    assert 0 <= low == high <= 1
    assert appearance.digests == tuple(map(pixel_digest, micrographs[:3]))


def test_how_unsure_the_network_is_comes_from_what_it_sees(tmp_path):
    names = write_blobs(tmp_path, count=1, height=65, width=83)
    files = blobs(tmp_path, names)
    entropies = []
    for scale in (1.0, 2.0):
        model = write_tiny_model(tmp_path / f"model {scale}", scale=scale)
        write_appearance(start("cpu", "float32"), model, files, files)
        entropies.append(read_appearance(model).ranges[ENTROPY][0])
    logits = enlarged(
        read_model(model)[0](network_input(files.read(0)[0], "per_image", scale=2.0)[None]), (65, 83)
    )
    assert entropies[1] == entropy(torch.sigmoid(logits).detach().numpy()) != entropies[0]
