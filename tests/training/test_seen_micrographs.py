"""A model's folder holds what its training micrographs look like, and how unsure its network is."""

import torch

from microseg.micrographs.images import read_micrograph
from microseg.network.devices import start
from microseg.network.image_statistics import (
    ENTROPY,
    QUANTITIES,
    entropy,
    image_statistics,
    pixel_digest,
    read_image_statistics,
)
from microseg.network.inputs import network_input, upsample
from microseg.network.model_io import read_model
from microseg.training.export import write_image_statistics

from drawn_micrographs import write_tiny_model
from tiny_training import blobs, write_blobs


def test_what_was_trained_on_is_written_beside_the_model(tmp_path):
    names = write_blobs(tmp_path, count=4)
    model = write_tiny_model(tmp_path / "model")
    write_image_statistics(start("cpu", "float32"), model, blobs(tmp_path, names[:3]), blobs(tmp_path, names[3:]))
    appearance = read_image_statistics(model)
    micrographs = [read_micrograph(tmp_path / "images" / name) for name in names]
    assert set(appearance.ranges) == set(QUANTITIES)
    noise = [image_statistics(micrograph)["noise"] for micrograph in micrographs[:3]]
    assert appearance.ranges["noise"] == (min(noise), max(noise))
    low, high = appearance.ranges[ENTROPY]
    assert 0 <= low == high <= 1
    assert appearance.digests == tuple(map(pixel_digest, micrographs[:3]))


def test_how_unsure_the_network_is_comes_from_what_it_sees(tmp_path):
    names = write_blobs(tmp_path, count=1, height=65, width=83)
    files = blobs(tmp_path, names)
    entropies = []
    for scale in (1.0, 2.0):
        model = write_tiny_model(tmp_path / f"model {scale}", downsample=scale)
        write_image_statistics(start("cpu", "float32"), model, files, files)
        entropies.append(read_image_statistics(model).ranges[ENTROPY][0])
    logits = upsample(read_model(model)[0](network_input(files.read(0)[0], "zscore", scale=2.0)[None]), (65, 83))
    assert entropies[1] == entropy(torch.sigmoid(logits).detach().numpy()) != entropies[0]
