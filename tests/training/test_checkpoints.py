"""Checkpoints hold the complete state of a training, and a training finds the latest one it goes through."""

import hashlib
import logging
from dataclasses import replace

import pytest
import torch

from microseg.training import checkpoints
from microseg.training.checkpoints import CheckpointFolder
from microseg.training.records import EpochRecord, TrainingState, Validation

from tiny_training import assert_same


def state_after(epoch: int, ious: dict[int, float] | None = None) -> TrainingState:
    records = tuple(
        EpochRecord(number, 0.5, 0.1, 1.5, 0.01, Validation(0.5, (ious or {}).get(number, number / 100), 0.2), 0.3)
        for number in range(1, epoch + 1)
    )
    weights = {"layer": torch.full((2, 3), float(epoch))}
    averages = {"step": torch.tensor(float(epoch)), "exp_avg": torch.ones(2, 3)}
    optimizer = {"state": {0: averages}, "param_groups": [{"lr": 0.1, "params": [0], "betas": (0.9, 0.999)}]}
    return TrainingState(records, weights, {"layer": torch.zeros(2, 3)}, optimizer, {"scale": 65536.0})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "abc").mkdir()
    return CheckpointFolder(tmp_path / "abc", checkpoint_epochs=[2, 4])


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in folder.folder.iterdir())


def test_a_state_comes_back_as_it_was(folder):
    folder.save(state_after(3), epochs=9)
    back = folder.latest(epochs=10, patience=None)
    assert back is not None
    assert_same(back, state_after(3))
    assert back.records == state_after(3).records
    assert back.optimizer["param_groups"] == state_after(3).optimizer["param_groups"]
    assert back.scaler == {"scale": 65536.0}


def test_the_first_state_the_permanent_ones_and_one_a_minute_are_saved(folder, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    assert folder.should_save(1, epochs=9)
    folder.save(state_after(1), epochs=9)
    clock[0] += 59
    assert [folder.should_save(epoch, epochs=9) for epoch in (2, 3, 4, 5)] == [
        True,
        False,
        True,
        False,
    ]  # 2 and 4 are permanent
    clock[0] += 1
    assert folder.should_save(5, epochs=9)
    folder.save(state_after(5), epochs=9)
    assert not folder.should_save(6, epochs=9)


def test_the_latest_state_and_the_permanent_ones_stay(folder):
    for epoch in range(1, 6):
        folder.save(state_after(epoch), epochs=9)
    assert names(folder) == ["epoch_00002.pt", "epoch_00004.pt", "epoch_00005.pt"]


def test_a_shorter_training_keeps_the_states_of_a_longer_one(folder):
    folder.save(state_after(6), epochs=9)
    folder.save(state_after(3), epochs=9)
    assert names(folder) == ["epoch_00003.pt", "epoch_00006.pt"]


@pytest.mark.parametrize(("epochs", "found"), [(1, None), (2, 2), (3, 2), (5, 5), (9, 5)])
def test_the_latest_state_is_never_beyond_the_last_epoch(folder, epochs, found):
    for epoch in (2, 5):
        folder.save(state_after(epoch), epochs=9)
    state = folder.latest(epochs, patience=None)
    assert (state and state.epoch) == found


def test_a_state_beyond_an_early_stop_is_not_used(folder):
    # Epoch 1 stays the best: with a patience of 2 training ends after epoch 3.
    for epoch in (2, 4):
        folder.save(state_after(epoch, ious={1: 0.9}), epochs=9)
    state = folder.latest(epochs=9, patience=2)
    assert state is not None
    assert state.epoch == 2


def test_a_state_at_an_early_stop_is_used(folder):
    folder.save(state_after(3, ious={1: 0.9}), epochs=9)
    state = folder.latest(epochs=9, patience=2)
    assert state is not None
    assert state.epoch == 3


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04 cut off"])
def test_a_broken_state_is_ignored_with_a_warning(folder, caplog, content):
    for epoch in (2, 3):
        folder.save(state_after(epoch), epochs=9)
    (folder.folder / "epoch_00003.pt").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        state = folder.latest(epochs=9, patience=None)
    assert state is not None
    assert state.epoch == 2
    assert "epoch_00003.pt cannot be read (damaged, or not a checkpoint)" in caplog.text


def test_a_state_with_any_byte_changed_is_ignored(folder):
    folder.save(state_after(1), epochs=9)
    path = folder.folder / "epoch_00001.pt"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert folder.latest(epochs=9, patience=None) is None, place
    path.write_bytes(content)
    assert folder.latest(epochs=9, patience=None) is not None


@pytest.fixture
def files_stay_small():
    """Let every write beyond a megabyte fail, as on a full disk."""
    resource = pytest.importorskip("resource")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def large_state_after(epoch):
    return replace(state_after(epoch), weights={"layer": torch.zeros(300_000)})


@pytest.mark.usefixtures("files_stay_small")
def test_a_full_disk_costs_no_training_but_at_its_last_state(folder, caplog):
    folder.save(state_after(1), epochs=9)
    with caplog.at_level(logging.WARNING):
        folder.save(large_state_after(3), epochs=9, required=False)
    assert "epoch_00003.pt cannot be written (File too large); the training continues without it" in caplog.text
    assert names(folder) == ["epoch_00001.pt"]
    with pytest.raises(OSError, match="File too large"):
        folder.save(large_state_after(9), epochs=9)
    assert names(folder) == ["epoch_00001.pt"]


def test_a_folder_that_may_not_be_written_is_noticed_at_the_first_state(folder, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoints, "output_file", forbidden)
    with pytest.raises(PermissionError):
        folder.save(state_after(1), epochs=9, required=False)


def test_a_partly_written_state_of_a_killed_process_is_ignored(folder):
    folder.save(state_after(1), epochs=9)
    (folder.folder / ".epoch_00002.pt.partial").write_bytes(b"half a file")
    state = folder.latest(epochs=9, patience=None)
    assert state is not None
    assert state.epoch == 1


def test_code_in_a_state_is_not_executed(folder, tmp_path, caplog):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    path = folder.folder / "epoch_00001.pt"
    torch.save({"records": Trap()}, path)
    path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).digest())
    with caplog.at_level(logging.WARNING):
        assert folder.latest(epochs=9, patience=None) is None
    assert not (tmp_path / "trapped").exists()
    assert "epoch_00001.pt cannot be read" in caplog.text
    assert "weights_only" not in caplog.text  # which torch advises to turn off
