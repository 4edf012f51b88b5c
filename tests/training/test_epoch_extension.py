"""A longer training continues a shorter one; a shorter one costs nothing after a longer one."""

import pytest
import torch

from microseg.training.loop import TrainingLoop

from tiny_training import assert_same, tiny_train, write_blobs


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=6)
    return tmp_path / "data"


@pytest.fixture
def trained_epochs(monkeypatch):
    """Note the epochs that are trained."""
    noted = []
    original = TrainingLoop._train_epoch

    def train_epoch(self, epoch, *arguments):
        noted.append(epoch)
        return original(self, epoch, *arguments)

    monkeypatch.setattr(TrainingLoop, "_train_epoch", train_epoch)
    return noted


def test_more_epochs_end_in_the_bits_of_a_training_from_scratch(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "extended", epochs=2, checkpoint="last")
    trained_epochs.clear()
    extended = tiny_train(data, tmp_path / "extended", epochs=5)
    assert trained_epochs == [3, 4, 5]
    assert_same(extended, tiny_train(data, tmp_path / "scratch", epochs=5))


@pytest.mark.parametrize("epochs", [3, 5, 6])
def test_epochs_that_are_not_validated_change_no_bit_of_a_longer_training(data, tmp_path, epochs):
    # 3 and 5 are validated only where they are the last epoch.
    settings = {"lr": 0.02, "validate_every": 2}
    for end in (1, 3):
        tiny_train(data, tmp_path / "extended", epochs=end, **settings)
    extended = tiny_train(data, tmp_path / "extended", epochs=epochs, **settings)
    scratch = tiny_train(data, tmp_path / "scratch", epochs=epochs, **settings)
    assert_same(extended, scratch)
    validated = [record.epoch for record in extended.records if record.validation]
    assert validated == sorted({2, *range(2, epochs + 1, 2), epochs})


def test_a_shorter_training_validates_its_last_epoch_and_trains_none(data, tmp_path, trained_epochs):
    settings = {"lr": 0.02, "validate_every": 4, "checkpoint_epochs": [5]}
    tiny_train(data, tmp_path / "long", epochs=6, **settings)
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=5, **settings)
    assert trained_epochs == []
    assert short.model("last")[1].epoch == 5
    scratch = tiny_train(data, tmp_path / "scratch", epochs=5, **settings)
    assert_same(short, scratch)
    for keep in ("best", "last"):
        (weights, record, _), (expected, same, _) = short.model(keep), scratch.model(keep)
        assert record.epoch == same.epoch
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    # The validation of the shorter training, which its checkpoint now has, does not affect the longer one.
    assert_same(
        tiny_train(data, tmp_path / "long", epochs=6, **settings),
        tiny_train(data, tmp_path / "six", epochs=6, **settings),
    )


def test_weights_do_not_depend_on_how_often_they_are_validated(data, tmp_path):
    often, seldom = (tiny_train(data, tmp_path, epochs=4, validate_every=every) for every in (1, 3))
    for name in often.weights:
        assert torch.equal(often.weights[name], seldom.weights[name])
    assert [record.train_loss for record in often.records] == [record.train_loss for record in seldom.records]


def test_fewer_epochs_use_the_permanent_checkpoint_and_its_best_weights(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "long", epochs=6, lr=0.02, checkpoint_epochs=[2, 4])
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=4, lr=0.02, checkpoint_epochs=[2, 4])
    assert trained_epochs == []
    assert_same(short, tiny_train(data, tmp_path / "scratch", epochs=4, lr=0.02))


def test_fewer_epochs_without_a_checkpoint_continue_from_the_nearest_one_before(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "long", epochs=6, checkpoint_epochs=[2, 4])
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=5, checkpoint_epochs=[2, 4])
    assert trained_epochs == [5]
    assert_same(short, tiny_train(data, tmp_path / "scratch", epochs=5))


def test_early_stopping_uses_only_states_that_its_training_goes_through(data, tmp_path, trained_epochs):
    # No epoch is better than the first, so that a patience of 2 ends the training after epoch 3.
    settings = {"lr": 1e-12, "checkpoint_epochs": [1, 2, 3, 4, 5, 6]}
    tiny_train(data, tmp_path, epochs=6, **settings)
    trained_epochs.clear()
    stopped = tiny_train(data, tmp_path, epochs=6, early_stopping_patience=2, **settings)
    assert len(stopped.records) == 3
    assert trained_epochs == []


DECAYING = {
    "norm_layer": "batch",
    "schedule": "wsd",
    "warmup_epochs": 1,
    "decay_fraction": 0.3,
    "validate_every": 2,
}


def test_a_longer_training_continues_from_the_start_of_the_decay_of_a_shorter_one(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "extended", epochs=5, checkpoint="last", **DECAYING)
    trained_epochs.clear()
    extended = tiny_train(data, tmp_path / "extended", epochs=8, **DECAYING)
    assert trained_epochs == [4, 5, 6, 7, 8]
    assert_same(extended, tiny_train(data, tmp_path / "scratch", epochs=8, **DECAYING))


def test_a_shorter_training_trains_only_its_own_decay(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "long", epochs=9, checkpoint_epochs=[5], **DECAYING)
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=5, checkpoint_epochs=[5], **DECAYING)
    assert trained_epochs == [4, 5]
    assert_same(short, tiny_train(data, tmp_path / "scratch", epochs=5, **DECAYING))
    trained_epochs.clear()
    again = tiny_train(data, tmp_path / "long", epochs=9, checkpoint_epochs=[5], **DECAYING)
    assert trained_epochs == []
    assert_same(again, tiny_train(data, tmp_path / "scratch", epochs=9, **DECAYING))


def test_a_shorter_decay_continues_from_the_epochs_it_shares(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "decays", epochs=5, **DECAYING)
    trained_epochs.clear()
    shorter = tiny_train(data, tmp_path / "decays", epochs=5, **DECAYING | {"decay_fraction": 0.2})
    assert trained_epochs == [4, 5]
    assert_same(shorter, tiny_train(data, tmp_path / "scratch", epochs=5, **DECAYING | {"decay_fraction": 0.2}))


def test_a_schedule_that_depends_on_the_number_of_epochs_starts_from_scratch(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path, epochs=2, schedule="cosine")
    trained_epochs.clear()
    tiny_train(data, tmp_path, epochs=3, schedule="cosine")
    assert trained_epochs == [1, 2, 3]


def test_other_parameters_start_from_scratch(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path, epochs=1)
    trained_epochs.clear()
    tiny_train(data, tmp_path, epochs=1, lr=0.002)
    assert trained_epochs == [1]


def test_a_changed_mask_starts_from_scratch(data, tmp_path, trained_epochs):
    before = tiny_train(data, tmp_path, epochs=1)
    trained_epochs.clear()
    (data / "masks" / "IMG_00001.png").write_bytes((data / "masks" / "IMG_00002.png").read_bytes())
    after = tiny_train(data, tmp_path, epochs=1)
    assert trained_epochs == [1]
    assert not torch.equal(before.weights["head.weight"], after.weights["head.weight"])
