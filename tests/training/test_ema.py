"""The EMA of the weights: its values, its batch normalizations, and that it resumes bit for bit."""

import numpy as np
import pytest
import torch
from torch import nn

from microseg.network.batch_norm import SyncBatchNorm2d
from microseg.network.devices import start
from microseg.network.inputs import network_input
from microseg.network.networks import EncoderNetwork
from microseg.network.unet import UNet
from microseg.training.data import Batch
from microseg.training.loop import TrainingLoop
from microseg.training.optimization import EMA

from tiny_training import SMALL_ENCODER, assert_same, blobs, tiny_train, write_blobs

AVERAGED = {"norm_layer": "batch", "ema_decay": 0.9}


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=6)
    return tmp_path / "data"


def test_the_average_worked_out_by_hand():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(100.0)
    ema = EMA(network, decay=0.5)
    values = []
    for step, weight in enumerate((1.0, 2.0, 3.0, 4.0, 10.0, 10.0, 10.0, 10.0, 10.0, 20.0)):
        network.weight.data.fill_(weight)
        ema.update(network, step)
        values.append(ema.network.weight.item())
    # The decay is 1/10 at the first step, 2/11 at the second, 3/12 and so on, 1/2 at most.
    assert values[0] == pytest.approx(100 / 10 + 9 / 10)
    assert values[1] == pytest.approx(10.9 * 2 / 11 + 2 * 9 / 11)
    assert values[2] == pytest.approx(values[1] / 4 + 3 * 3 / 4)
    assert values[9] == pytest.approx((values[8] + 20) / 2)
    assert network.weight.item() == 20
    assert not ema.network.weight.requires_grad


class Recording(TrainingLoop):
    """Notes the weights after every step."""

    steps: list[dict[str, torch.Tensor]] = []  # noqa: RUF012 (one training uses it)

    def _update_weights(self, step):
        super()._update_weights(step)
        Recording.steps.append({name: weight.detach().clone() for name, weight in self.network.named_parameters()})


def test_the_model_is_the_average_of_the_weights_of_all_steps(data, tmp_path, monkeypatch):
    monkeypatch.setattr("microseg.training.train.TrainingLoop", Recording)
    monkeypatch.setattr(Recording, "steps", [])
    state = tiny_train(data, tmp_path, epochs=4, lr=0.01, **AVERAGED)
    weights, _, _ = state.model("last")
    for name in Recording.steps[0]:
        decays = [min(0.9, (1 + step) / (10 + step)) for step in range(len(Recording.steps))]
        factors = [(1 - decays[step]) * np.prod(decays[step + 1 :]) for step in range(len(decays))]
        expected = sum(factor * step[name].double() for factor, step in zip(factors, Recording.steps, strict=True))
        assert 1 - sum(factors) < 1e-3  # the factor of the initial weights
        assert torch.allclose(weights[name].double(), expected, atol=1e-3), name
        assert torch.equal(state.weights[name], Recording.steps[-1][name])
    assert not torch.allclose(weights["head.weight"], state.weights["head.weight"], atol=1e-5)


def test_the_average_is_validated_and_becomes_the_model(data, tmp_path):
    state = tiny_train(data, tmp_path, epochs=4, lr=0.02, checkpoint_epochs=[1, 2, 3], **AVERAGED)
    validation = blobs(data, ["IMG_00005.png", "IMG_00006.png"])
    for keep in ("best", "last"):
        weights, record, measured = state.model(keep)
        network = UNet(2, norm_layer="batch")
        network.load_state_dict(weights)
        ious = []
        for micrograph, mask in map(validation.read, range(2)):
            with torch.no_grad():
                predicted = network.eval()(network_input(micrograph, "zscore")[None])[0, 0].numpy() > 0
            union = (predicted | mask).sum()
            ious.append((predicted & mask).sum() / union if union else 1.0)
        assert measured.iou == pytest.approx(np.mean(ious), rel=1e-6)
        assert record.validation == measured
    assert all(torch.equal(state.model("last")[0][name], average) for name, average in state.average.items())


def as_batch(micrographs):
    return Batch(micrographs, torch.zeros_like(micrographs), torch.ones(len(micrographs)), ())


def test_a_frozen_encoder_keeps_its_statistics():
    network = EncoderNetwork("unet", SMALL_ENCODER)
    network.freeze_encoder()
    ema = EMA(network, 0.9)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ema.update_batch_norm(start("cpu", "float32"), [as_batch(torch.randn(2, 1, 64, 64))])
    after = ema.network.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert any("decoder" in name and "running_mean" in name for name in changed)
    assert not any("encoder" in name for name in changed)


def test_running_statistics_are_those_of_the_crops_with_the_averaged_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), SyncBatchNorm2d(3))
    network[1].running_mean.fill_(7.0)
    ema = EMA(network, 0.9)
    batches = [torch.randn(size, 1, 8, 8) for size in (2, 4, 3)]
    ema.update_batch_norm(start("cpu", "float32"), [as_batch(batch) for batch in batches])
    features = [ema.network[0](batch) for batch in batches]
    means = torch.stack([values.mean(dim=(0, 2, 3)) for values in features])
    variances = torch.stack([values.var(dim=(0, 2, 3)) for values in features])
    assert torch.allclose(ema.network[1].running_mean, means.mean(dim=0), atol=1e-6)
    assert torch.allclose(ema.network[1].running_var, variances.mean(dim=0), atol=1e-5)
    assert ema.network[1].momentum == 0.1
    assert (network[1].running_mean == 7).all()


@pytest.mark.parametrize("norm_layer", ["batch", "none"])
def test_it_resumes_and_is_extended_bit_for_bit(data, tmp_path, norm_layer):
    settings = AVERAGED | {"norm_layer": norm_layer, "validate_every": 3, "lr": 0.01}
    whole = tiny_train(data, tmp_path / "whole", epochs=6, **settings)
    # Its validation after epoch 4, which updates batch normalizations, does not occur in the longer training.
    tiny_train(data, tmp_path / "parts", epochs=4, **settings)
    extended = tiny_train(data, tmp_path / "parts", epochs=6, **settings)
    assert_same(extended, whole)
    for keep in ("best", "last"):
        first, second = extended.model(keep)[0], whole.model(keep)[0]
        assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_shorter_training_has_the_average_of_a_longer_one(data, tmp_path):
    settings = AVERAGED | {"validate_every": 5}
    tiny_train(data, tmp_path / "long", epochs=5, checkpoint_epochs=[3], **settings)
    short = tiny_train(data, tmp_path / "long", epochs=3, checkpoint_epochs=[3], **settings)
    scratch = tiny_train(data, tmp_path / "scratch", epochs=3, checkpoint_epochs=[3], **settings)
    assert_same(short, scratch)
    assert all(torch.equal(short.average[name], scratch.average[name]) for name in scratch.average)


def test_it_changes_no_step_and_is_empty_without_ema(data, tmp_path):
    without = tiny_train(data, tmp_path, norm_layer="batch")
    averaged = tiny_train(data, tmp_path, **AVERAGED)
    assert without.average == {}
    assert without.model("last")[0] is without.weights
    for name, weights in without.weights.items():
        assert torch.equal(averaged.weights[name], weights), name
    assert [one.train_loss for one in averaged.records] == [one.train_loss for one in without.records]
