"""The learning rate of every step, and which epochs trainings of different lengths share."""

import math

import pytest

from microseg.training.optimization import Schedule, shared_epochs


def rates(schedule: Schedule) -> list[float]:
    return [schedule.learning_rate(step) for step in range(schedule.epochs * schedule.steps_per_epoch)]


def test_constant_is_constant():
    assert set(rates(Schedule("constant", 0.1, epochs=3, steps_per_epoch=4))) == {0.1}


def test_the_warm_up_is_linear():
    schedule = Schedule("constant", 1.0, epochs=3, steps_per_epoch=4, warmup_epochs=1)
    assert rates(schedule) == pytest.approx([0.25, 0.5, 0.75, 1.0] + [1.0] * 8)


def test_cosine_decays_from_the_rate_to_zero():
    schedule = Schedule("cosine", 2.0, epochs=2, steps_per_epoch=2)
    assert rates(schedule) == pytest.approx([2.0, 1 + math.cos(math.pi / 4), 1.0, 1 - math.cos(math.pi / 4)])


def test_cosine_decays_after_the_warm_up():
    schedule = Schedule("cosine", 1.0, epochs=3, steps_per_epoch=2, warmup_epochs=1)
    assert rates(schedule) == pytest.approx([0.5, 1.0, *rates(Schedule("cosine", 1.0, 2, 2))])


def test_one_cycle_rises_for_three_tenths_and_then_decays():
    schedule = Schedule("one_cycle", 1.0, epochs=10, steps_per_epoch=10)
    values = rates(schedule)
    assert values[0] == pytest.approx(1 / 25)
    assert values[30] == 1.0
    assert values[:31] == sorted(values[:31])
    assert values[30:] == sorted(values[30:], reverse=True)
    assert values[65] == pytest.approx(0.5)
    assert 0 < values[-1] < 0.001


def test_a_warm_up_longer_than_the_training_never_ends():
    assert rates(Schedule("cosine", 1.0, epochs=1, steps_per_epoch=2, warmup_epochs=2)) == [0.25, 0.5]


def test_wsd_warms_up_stays_and_decays_with_a_square_root():
    schedule = Schedule("wsd", 2.0, epochs=10, steps_per_epoch=4, warmup_epochs=1, decay_fraction=0.4)
    decay = [2 * (1 - math.sqrt(step / 16)) for step in range(16)]
    assert rates(schedule) == pytest.approx([0.5, 1.0, 1.5, 2.0] + [2.0] * 20 + decay)
    assert 0 < rates(schedule)[-1] < 0.1


@pytest.mark.parametrize(
    ("epochs", "decay_fraction", "shared"),
    [(10, 0.3, 7), (5, 0.3, 3), (50, 0.3, 35), (1, 0.3, 0), (3, 0.01, 2), (4, 1.0, 0)],
)
def test_the_decay_takes_whole_epochs_and_one_at_least(epochs, decay_fraction, shared):
    assert shared_epochs("wsd", epochs, decay_fraction) == shared


@pytest.mark.parametrize("name", ["constant", "wsd", "cosine", "one_cycle"])
def test_shared_epochs_have_the_learning_rates_of_all_longer_trainings(name):
    warmup = 0 if name == "one_cycle" else 2
    for epochs in range(3, 12):
        shared = shared_epochs(name, epochs, 0.3) * 10
        short, long = (rates(Schedule(name, 1.0, last, 10, warmup)) for last in (epochs, epochs + 3))
        assert short[:shared] == long[:shared]
        assert name == "constant" or short[shared:] != long[shared : epochs * 10]
