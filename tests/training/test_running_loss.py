import pytest
import torch

from microseg.common.errors import InputError
from microseg.training import loop
from microseg.training.loop import LossMeter


def test_the_total_is_that_of_all_losses():
    running = LossMeter(epoch=1)
    for step in range(1, 101):
        running.add(step, ("a.png", "b.png"), torch.tensor([0.5, float(step)]))
    assert running.total() == 100 * 0.5 + 5050


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_by_its_step_and_micrographs(value):
    running = LossMeter(epoch=3)
    running.add(1, ("a.png",), torch.tensor([0.5]))
    running.add(2, ("b.png", "c.png"), torch.tensor([0.5, value]))
    running.add(3, ("d.png",), torch.tensor([value]))
    with pytest.raises(
        InputError, match=r"epoch 3, step 2: the loss of b\.png, c\.png is not finite; .*train\.lr"
    ):
        running.total()


def test_the_device_is_looked_at_once_in_many_steps(monkeypatch):
    looks = []
    original = LossMeter._look
    monkeypatch.setattr(LossMeter, "_look", lambda self: looks.append(1) or original(self))
    running = LossMeter(epoch=1)
    for step in range(1, 10 * loop.STEPS_BETWEEN_LOOKS + 1):
        running.add(step, ("a.png",), torch.tensor([1.0]))
    assert len(looks) == 9


def test_a_training_stops_within_a_window_of_steps():
    running = LossMeter(epoch=1)
    running.add(1, ("a.png",), torch.tensor([float("nan")]))
    for step in range(2, loop.STEPS_BETWEEN_LOOKS + 1):
        running.add(step, ("a.png",), torch.tensor([1.0]))
    with pytest.raises(InputError, match="step 1:"):
        running.add(loop.STEPS_BETWEEN_LOOKS + 1, ("a.png",), torch.tensor([1.0]))
