"""A longer training goes on where a shorter one ended; a shorter one costs nothing after a longer one."""

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
    """Count the epochs that are really trained."""
    counted = []
    original = TrainingLoop._run_epoch

    def counting(self, epoch, *arguments):
        counted.append(epoch)
        return original(self, epoch, *arguments)

    monkeypatch.setattr(TrainingLoop, "_run_epoch", counting)
    return counted


def test_more_epochs_go_on_and_end_in_the_bits_of_a_training_from_scratch(data, tmp_path, trained_epochs):
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
    # The validation of the shorter one, which its state now holds, is unknown to the longer one.
    assert_same(
        tiny_train(data, tmp_path / "long", epochs=6, **settings),
        tiny_train(data, tmp_path / "six", epochs=6, **settings),
    )


def test_weights_do_not_depend_on_how_often_they_are_validated(data, tmp_path):
    often, seldom = (tiny_train(data, tmp_path, epochs=4, validate_every=every) for every in (1, 3))
    for name in often.weights:
        assert torch.equal(often.weights[name], seldom.weights[name])
    assert [record.train_loss for record in often.records] == [record.train_loss for record in seldom.records]


def test_fewer_epochs_take_the_kept_state_and_its_best_weights(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "long", epochs=6, lr=0.02, checkpoint_epochs=[2, 4])
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=4, lr=0.02, checkpoint_epochs=[2, 4])
    assert trained_epochs == []
    assert_same(short, tiny_train(data, tmp_path / "scratch", epochs=4, lr=0.02))


def test_fewer_epochs_that_were_not_kept_go_on_from_the_nearest_kept_state(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "long", epochs=6, checkpoint_epochs=[2, 4])
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=5, checkpoint_epochs=[2, 4])
    assert trained_epochs == [5]
    assert_same(short, tiny_train(data, tmp_path / "scratch", epochs=5))


def test_early_stopping_takes_only_states_that_its_training_passes_through(data, tmp_path, trained_epochs):
    # No epoch is better than the first, so that a patience of 2 ends the training after epoch 3.
    settings = {"lr": 1e-12, "checkpoint_epochs": [1, 2, 3, 4, 5, 6]}
    tiny_train(data, tmp_path, epochs=6, **settings)
    trained_epochs.clear()
    stopped = tiny_train(data, tmp_path, epochs=6, early_stopping_patience=2, **settings)
    assert len(stopped.records) == 3
    assert trained_epochs == []


FALLING = {
    "norm_layer": "batch",
    "schedule": "wsd",
    "warmup_epochs": 1,
    "decay_fraction": 0.3,
    "validate_every": 2,
}


def test_a_longer_training_goes_on_from_where_a_shorter_one_began_to_fall(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "extended", epochs=5, checkpoint="last", **FALLING)
    trained_epochs.clear()
    extended = tiny_train(data, tmp_path / "extended", epochs=8, **FALLING)
    assert trained_epochs == [4, 5, 6, 7, 8]
    assert_same(extended, tiny_train(data, tmp_path / "scratch", epochs=8, **FALLING))


def test_a_shorter_training_needs_only_its_own_fall(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "long", epochs=9, checkpoint_epochs=[5], **FALLING)
    trained_epochs.clear()
    short = tiny_train(data, tmp_path / "long", epochs=5, checkpoint_epochs=[5], **FALLING)
    assert trained_epochs == [4, 5]
    assert_same(short, tiny_train(data, tmp_path / "scratch", epochs=5, **FALLING))
    trained_epochs.clear()
    again = tiny_train(data, tmp_path / "long", epochs=9, checkpoint_epochs=[5], **FALLING)
    assert trained_epochs == []
    assert_same(again, tiny_train(data, tmp_path / "scratch", epochs=9, **FALLING))


def test_a_steeper_fall_goes_on_from_the_epochs_it_shares(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path / "falls", epochs=5, **FALLING)
    trained_epochs.clear()
    steep = tiny_train(data, tmp_path / "falls", epochs=5, **FALLING | {"decay_fraction": 0.2})
    assert trained_epochs == [4, 5]
    assert_same(steep, tiny_train(data, tmp_path / "scratch", epochs=5, **FALLING | {"decay_fraction": 0.2}))


def test_a_schedule_that_knows_the_number_of_epochs_starts_from_scratch(data, tmp_path, trained_epochs):
    tiny_train(data, tmp_path, epochs=2, schedule="cosine")
    trained_epochs.clear()
    tiny_train(data, tmp_path, epochs=3, schedule="cosine")
    assert trained_epochs == [1, 2, 3]


def test_another_recipe_starts_from_scratch(data, tmp_path, trained_epochs):
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
