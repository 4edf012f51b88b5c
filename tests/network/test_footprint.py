"""What a network of others takes in memory is what it holds when it computes."""

import pytest
import torch

from microseg.common.errors import InputError
from microseg.network.footprint import Peak, footprint_of
from microseg.network.memory import InferenceWorkload, TrainingWorkload
from microseg.network.networks import EncoderNetwork
from microseg.network.unet import UNet

from tiny_training import SMALL_ENCODER

WORKLOAD = {"base_channels": 1, "height": 192, "width": 128, "bytes_per_number": 4}


@pytest.fixture(scope="module")
def network():
    return EncoderNetwork("linknet", SMALL_ENCODER)


def test_what_is_counted_without_values_is_what_a_training_stores(network):
    footprint = footprint_of(network, batch_size=2)
    stored = {}

    def note(tensor):
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = network.train()(torch.zeros(2, 1, 192, 128))
    for value in network.state_dict(keep_vars=True).values():
        stored.pop(value.untyped_storage().data_ptr(), None)
    training = TrainingWorkload(
        **WORKLOAD, batch_size=2, whole=False, activation_checkpointing=False, footprint=footprint
    )
    weights = 16 * sum(weight.numel() for weight in network.parameters())
    assert training.needed_bytes - weights == pytest.approx(sum(stored.values()) + logits.nbytes, rel=0.02)
    assert training.description == f"training linknet on {SMALL_ENCODER} with 2 x 192 x 128 pixels at a time"
    assert [line.split()[0] for line in training.remedies()] == [
        "train.batch_size",
        "train.crop_size",
        "train.precision",
    ]


def test_a_frozen_encoder_stores_less(network):
    frozen = EncoderNetwork("linknet", SMALL_ENCODER)
    frozen.freeze_encoder()
    assert footprint_of(frozen, 2).stored < 0.7 * footprint_of(network, 2).stored


def test_and_what_a_prediction_holds_at_once(network):
    prediction = InferenceWorkload(**WORKLOAD, tile_size=None, validating=False, footprint=footprint_of(network))
    with Peak() as peak, torch.inference_mode():
        network.eval()(torch.zeros(1, 1, 192, 128))
    weights = 4 * sum(weight.numel() for weight in network.parameters())
    # The micrograph itself is a map that comes on top.
    maps = 4 * 192 * 128
    assert prediction.needed_bytes - weights - maps == pytest.approx(peak.bytes, rel=0.03)


def test_the_size_of_the_u_net_is_known():
    assert footprint_of(UNet(1)) is None


def test_a_network_that_cannot_compute_single_crops_is_refused_before_the_training():
    network = EncoderNetwork("deeplabv3", SMALL_ENCODER)
    assert footprint_of(network, batch_size=2) is not None
    with pytest.raises(InputError, match=r"deeplabv3 on .* cannot compute batches of 1 .*train\.batch_size to 2"):
        footprint_of(network, batch_size=1)


def test_but_predicts_micrographs_one_at_a_time():
    footprint = footprint_of(EncoderNetwork("deeplabv3", SMALL_ENCODER))
    assert footprint.stored == 0
    assert footprint.held > 0
