"""Losses worked out by hand, computed in float32, and finite for any logits."""

import math

import pytest
import torch

from microseg.network.losses import LOSSES, bce, dice, dice_bce


def test_bce_of_an_undecided_network_is_the_logarithm_of_two():
    masks = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 1.0]]]])
    assert bce(torch.zeros(2, 1, 1, 2), masks).tolist() == pytest.approx([math.log(2)] * 2)


def test_bce_worked_out_by_hand():
    logits, masks = torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1, 1]]]])
    by_hand = (-math.log(1 / (1 + math.exp(-2))) - math.log(1 / (1 + math.exp(1)))) / 2
    assert bce(logits, masks).tolist() == pytest.approx([by_hand])


def test_dice_worked_out_by_hand():
    # Sigmoid 0.5 on four pixels, one of them foreground: 1 - (2 * 0.5 + 1) / (2 + 1 + 1).
    masks = torch.tensor([[[[0, 0], [0, 1]]]])
    assert dice(torch.zeros(1, 1, 2, 2), masks).tolist() == pytest.approx([0.5])


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_best_probability_of_a_pixel_is_its_fraction_of_foreground(loss, fraction):
    # An island of 40 x 40 pixels, and above it a row on its outline.
    mask = torch.zeros(1, 1, 100, 100)
    mask[..., 20:60, 20:60] = 1
    mask[..., 19, 20:60] = fraction

    def value(probability: float) -> float:
        predicted = torch.where(mask == fraction, probability, mask).clamp(1e-4, 1 - 1e-4)
        return loss(torch.logit(predicted), mask).item()

    probabilities = [step / 100 for step in range(1, 100)]
    assert min(probabilities, key=value) == pytest.approx(fraction, abs=0.011)


def test_dice_of_an_empty_mask_is_zero_for_an_empty_prediction():
    assert dice(torch.full((1, 1, 4, 4), -100.0), torch.zeros(1, 1, 4, 4)).tolist() == [0.0]


def test_dice_bce_is_seven_to_three():
    logits, masks = torch.randn(3, 1, 5, 6), torch.rand(3, 1, 5, 6) > 0.5
    assert torch.allclose(dice_bce(logits, masks), 0.7 * bce(logits, masks) + 0.3 * dice(logits, masks))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_computes_in_float32_whatever_the_logits_are(loss):
    # In bf16 the mean over many pixels would stop growing: 0.5 + 2**-9 is 0.5 again.
    logits, masks = torch.randn(2, 1, 128, 128).bfloat16(), torch.rand(2, 1, 128, 128) > 0.5
    assert loss(logits, masks).dtype == torch.float32
    assert torch.equal(loss(logits, masks), loss(logits.float(), masks))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_extreme_logits_give_finite_losses_and_gradients(loss):
    logits = torch.tensor([[[[1e4, -1e4]]]], requires_grad=True)
    value = loss(logits, torch.tensor([[[[False, True]]]]))
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
