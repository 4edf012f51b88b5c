"""What a training does with its parameters, and what it reports and refuses."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from microseg.common.errors import InputError
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.network.devices import start
from microseg.training.checkpoints import CheckpointFolder
from microseg.training.optimization import new_network
from microseg.training.records import EpochRecord, best_record
from microseg.training.train import train, warn_if_waiting

from tiny_training import NO_AUGMENTATION, blobs, tiny_params, tiny_train, write_blobs


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=6)
    return tmp_path / "data"


def test_a_training_learns_to_segment_bright_blobs(data, tmp_path):
    augment = NO_AUGMENTATION | {"flips": "d4"}
    state = tiny_train(
        data, tmp_path, base_channels=4, epochs=40, lr=0.01, crops_per_micrograph=4, augment=augment
    )
    assert iou_of(best_record(state.records)) > 0.7
    assert state.records[-1].train_loss < 0.5 * state.records[0].train_loss


def iou_of(record: EpochRecord) -> float:
    assert record.validation is not None
    return record.validation.iou


def test_one_record_an_epoch(data, tmp_path):
    state = tiny_train(data, tmp_path, epochs=3, warmup_epochs=2, lr=0.5)
    assert [record.epoch for record in state.records] == [1, 2, 3]
    assert [record.lr for record in state.records] == [0.25, 0.5, 0.5]


def test_equal_seeds_give_equal_weights_and_other_seeds_others(data, tmp_path):
    first, second, other = (
        tiny_train(data, tmp_path / folder, seed=seed, epochs=1)
        for folder, seed in (("first", 1), ("second", 1), ("other", 2))
    )
    for name, weights in first.weights.items():
        assert torch.equal(weights, second.weights[name])
    assert not torch.equal(first.weights["head.weight"], other.weights["head.weight"])
    assert first.records[0].train_loss != other.records[0].train_loss


def test_the_initial_network_depends_on_the_seed_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    networks = [new_network(tiny_params(), seed, {}) for seed in (1, 1, 2)]
    heads = [network.state_dict()["head.weight"] for network in networks]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def gradients(data, tmp_path, name, **changes) -> list[torch.Tensor]:
    """Return the gradients of the one step of one epoch: Adam's first average is a tenth of them."""
    state = tiny_train(data, tmp_path / name, epochs=1, max_grad_norm=None, **changes)
    return [averages["exp_avg"] * 10 for averages in state.optimizer["state"].values()]


@pytest.mark.parametrize("loss", ["bce", "dice_bce"])
def test_accumulated_batches_give_the_gradient_of_the_large_batch(data, tmp_path, loss):
    large = gradients(data, tmp_path, "large", batch_size=8, loss=loss)
    # 3 does not divide the 8 crops: the last batch is smaller, and weighs less.
    small = gradients(data, tmp_path, "small", batch_size=3, accumulate_grad_batches=3, loss=loss)
    for one, many in zip(large, small, strict=True):
        assert torch.allclose(one, many, rtol=1e-4, atol=1e-7)


def test_activation_checkpointing_changes_no_bit_of_the_training(data, tmp_path):
    stored, recomputed = (
        tiny_train(data, tmp_path, epochs=1, precision="auto", activation_checkpointing=answer)
        for answer in (False, True)
    )
    for name, weights in stored.weights.items():
        assert torch.equal(weights, recomputed.weights[name])


def test_the_gradient_is_clipped_to_the_limit(data, tmp_path):
    limit = 1e-4
    state = tiny_train(data, tmp_path, epochs=1, batch_size=8, max_grad_norm=limit)
    clipped = torch.cat([averages["exp_avg"].flatten() * 10 for averages in state.optimizer["state"].values()])
    assert clipped.norm().item() == pytest.approx(limit, rel=1e-3)


def test_weight_decay_shrinks_the_weights(data, tmp_path):
    free, decayed = (tiny_train(data, tmp_path, epochs=2, weight_decay=decay) for decay in (0.0, 5.0))
    norms = [sum(weights.norm() for weights in state.weights.values()) for state in (free, decayed)]
    assert norms[1] < norms[0]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_whole_micrographs_of_an_odd_size_in_bf16(tmp_path, schedule):
    write_blobs(tmp_path / "data", count=4, height=50, width=70)
    state = tiny_train(
        tmp_path / "data", tmp_path, epochs=2, crop_size=None, batch_size=2, precision="bf16", schedule=schedule
    )
    assert len(state.records) == 2


def test_early_stopping_ends_a_training_that_does_not_improve(data, tmp_path):
    # Such a small learning rate changes nothing, so no epoch is better than the first.
    state = tiny_train(data, tmp_path, epochs=10, lr=1e-12, early_stopping_patience=3)
    assert len(state.records) == 4


def test_no_step_waits_for_a_number_from_the_device(data, tmp_path, monkeypatch):
    read = []
    for method in ("item", "tolist"):
        original = getattr(torch.Tensor, method)
        monkeypatch.setattr(torch.Tensor, method, lambda self, f=original, m=method: read.append(m) or f(self))
    counts = []
    for repeats in (2, 8):  # 2 and 8 steps
        read.clear()
        tiny_train(data, tmp_path, epochs=1, crops_per_micrograph=repeats)
        counts.append(len(read))
    assert counts[0] == counts[1]


def test_checkpoints_are_written_for_the_first_the_permanent_and_the_last_epoch(data, tmp_path, monkeypatch):
    saved = []
    original = CheckpointFolder.save
    monkeypatch.setattr(
        CheckpointFolder,
        "save",
        lambda self, state, epochs, **how: saved.append(state.epoch) or original(self, state, epochs, **how),
    )
    tiny_train(data, tmp_path, epochs=6, checkpoint_epochs=[4])
    assert saved == [1, 4, 6]


def test_best_and_last_weights(data, tmp_path):
    state = tiny_train(data, tmp_path, epochs=6, lr=0.02)
    best_weights, best, measured = state.model("best")
    last_weights, last, _ = state.model("last")
    assert last.epoch == 6
    assert measured.iou == iou_of(best) == max(map(iou_of, state.records))
    stopped_at_best = tiny_train(data, tmp_path / "again", epochs=best.epoch, lr=0.02)
    assert all(torch.equal(best_weights[name], stopped_at_best.weights[name]) for name in best_weights)
    assert all(torch.equal(last_weights[name], state.weights[name]) for name in last_weights)


def test_a_loss_that_is_not_finite_stops_with_epoch_step_images_and_remedies(data, tmp_path):
    with pytest.raises(
        InputError, match=r"epoch \d+, step \d+: the loss of IMG_\d+\.png.*train\.lr.*max_grad_norm"
    ):
        tiny_train(data, tmp_path, epochs=5, lr=1e30, max_grad_norm=None)


def test_a_network_that_predicts_no_foreground_is_reported(data, tmp_path, caplog):
    for path in (data / "masks").iterdir():
        write_mask(path, np.zeros((64, 64), dtype=bool))
    with caplog.at_level(logging.WARNING):
        state = tiny_train(data, tmp_path, epochs=5, lr=0.05, loss="bce")
    assert state.model("last")[2].predicted_foreground == 0
    assert "no foreground on any validation micrograph" in caplog.text


def test_slow_data_loading_is_reported(caplog):
    record = EpochRecord(1, 0.5, 0.1, seconds=8.0, waiting_seconds=0.4, validation_seconds=2.0)
    warn_if_waiting([record])
    assert caplog.text == ""
    warn_if_waiting([record, replace(record, waiting_seconds=1.6)])
    assert "data loading is the bottleneck: the device waited for 10 % of the time" in caplog.text
    assert "a higher train.num_workers" in caplog.text


def test_a_split_without_training_micrographs_is_refused(data, tmp_path):
    fabric = start("cpu", "float32")
    nothing, something = blobs(data, []), blobs(data, ["IMG_00001.png"])
    with pytest.raises(InputError, match="no training micrographs"):
        train(fabric, nothing, something, tiny_params(), 1, tmp_path, tmp_path)
    with pytest.raises(InputError, match="no validation micrographs"):
        train(fabric, something, nothing, tiny_params(), 1, tmp_path, tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_micrograph_is_named_in_one_sentence(data, tmp_path, workers):
    (data / "images" / "IMG_00002.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"^[^\n]*IMG_00002\.png: cannot be decoded[^\n]*$"):
        tiny_train(data, tmp_path, num_workers=workers)


def test_micrographs_of_different_sizes_train_in_crops(data, tmp_path):
    larger = np.zeros((80, 90), dtype=np.uint8)
    write_micrograph(data / "images" / "IMG_00001.png", larger)
    write_micrograph(data / "masks" / "IMG_00001.png", larger)
    assert len(tiny_train(data, tmp_path, epochs=1).records) == 1
    with pytest.raises(InputError, match=r"different sizes.*train\.crop"):
        tiny_train(data, tmp_path, epochs=1, crop_size=None)
