"""Losses are summed without waiting for the device, and a training stops soon after one that is not finite."""

import pytest
import torch

from microseg.common.errors import InputError
from microseg.training import loop
from microseg.training.loop import LossMeter


def test_the_total_is_the_sum_of_all_losses():
    meter = LossMeter(epoch=1)
    for step in range(1, 101):
        meter.add(step, ("a.png", "b.png"), torch.tensor([0.5, float(step)]))
    assert meter.total() == 100 * 0.5 + 5050


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_reported_with_its_step_and_micrographs(value):
    meter = LossMeter(epoch=3)
    meter.add(1, ("a.png",), torch.tensor([0.5]))
    meter.add(2, ("b.png", "c.png"), torch.tensor([0.5, value]))
    meter.add(3, ("d.png",), torch.tensor([value]))
    with pytest.raises(
        InputError, match=r"epoch 3, step 2: the loss of b\.png, c\.png is not finite; .*train\.lr"
    ):
        meter.total()


def test_losses_are_read_from_the_device_once_in_many_steps(monkeypatch):
    checks = []
    original = LossMeter._check
    monkeypatch.setattr(LossMeter, "_check", lambda self: checks.append(1) or original(self))
    meter = LossMeter(epoch=1)
    for step in range(1, 10 * loop.STEPS_BETWEEN_CHECKS + 1):
        meter.add(step, ("a.png",), torch.tensor([1.0]))
    assert len(checks) == 9


def test_a_training_stops_within_that_number_of_steps():
    meter = LossMeter(epoch=1)
    meter.add(1, ("a.png",), torch.tensor([float("nan")]))
    for step in range(2, loop.STEPS_BETWEEN_CHECKS + 1):
        meter.add(step, ("a.png",), torch.tensor([1.0]))
    with pytest.raises(InputError, match="step 1:"):
        meter.add(loop.STEPS_BETWEEN_CHECKS + 1, ("a.png",), torch.tensor([1.0]))
