"""The crops of an epoch: each once, in an order given by the seed, distributed over devices and batches."""

from collections import Counter

import pytest

from microseg.training.data import Draw, Sampler


def flat(steps: list[list[list[Draw]]]) -> list[Draw]:
    return [draw for step in steps for batch in step for draw in batch]


def test_every_crop_of_every_micrograph_is_drawn_once_an_epoch():
    sampler = Sampler(seed=1, micrographs=5, repeats=3, batch_size=4, accumulate=2)
    draws = [draw for draw in flat(sampler.epoch(7)) if draw.weight]
    assert Counter((draw.micrograph, draw.repeat) for draw in draws) == Counter(
        (micrograph, repeat) for micrograph in range(5) for repeat in range(3)
    )
    assert {draw.epoch for draw in draws} == {7}


def test_the_order_differs_between_epochs_and_follows_from_the_seed():
    sampler = Sampler(seed=1, micrographs=50, repeats=1, batch_size=4, accumulate=1)
    orders = [[draw.micrograph for draw in flat(sampler.epoch(epoch))] for epoch in (1, 2)]
    assert orders[0] != orders[1]
    assert orders[0] == [draw.micrograph for draw in flat(sampler.epoch(1))]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("micrographs", "batch_size", "accumulate"), [(7, 2, 1), (7, 2, 3), (4, 4, 2), (1, 2, 2)])
def test_a_step_is_distributed_over_devices(world_size, micrographs, batch_size, accumulate):
    samplers = [Sampler(3, micrographs, 1, batch_size, accumulate, world_size, rank) for rank in range(world_size)]
    epochs = [sampler.epoch(2) for sampler in samplers]
    assert {len(epoch) for epoch in epochs} == {samplers[0].steps}
    for steps in zip(*epochs, strict=True):
        # All devices have the same number of batches, none of them empty, none too large.
        assert len({len(step) for step in steps}) == 1
        assert all(1 <= len(batch) <= batch_size for step in steps for batch in step)
        assert all(len(step) <= accumulate for step in steps)
        assert sum(draw.weight for draw in flat(list(steps))) == pytest.approx(1)
    counted = Counter(draw.micrograph for epoch in epochs for draw in flat(epoch) if draw.weight)
    assert counted == Counter(range(micrographs))


def test_the_steps_of_two_devices_hold_what_those_of_one_hold():
    one = Sampler(5, 10, 2, batch_size=4, accumulate=1)
    two = [Sampler(5, 10, 2, batch_size=2, accumulate=1, world_size=2, rank=rank) for rank in (0, 1)]
    for alone, first, second in zip(one.epoch(1), two[0].epoch(1), two[1].epoch(1), strict=True):
        assert sorted(flat([first, second])) == sorted(flat([alone]))


def test_accumulated_batches_hold_what_one_large_batch_holds():
    large = Sampler(5, 10, 2, batch_size=8, accumulate=1).epoch(1)
    small = Sampler(5, 10, 2, batch_size=2, accumulate=4).epoch(1)
    counting = [[[draw for draw in flat([step]) if draw.weight] for step in epoch] for epoch in (large, small)]
    assert counting[0] == counting[1]


def test_the_last_batch_is_filled_up_with_further_crops_of_its_micrographs_that_do_not_count():
    # 9 crops in batches of 4: the last one would be a single crop, which cannot be normalized alone.
    steps = Sampler(seed=1, micrographs=3, repeats=3, batch_size=4, accumulate=1).epoch(1)
    assert [len(batch) for step in steps for batch in step] == [4, 4, 4]
    (last, *filling) = steps[-1][0]
    assert last.weight == 1
    assert filling == [Draw(1, last.micrograph, last.repeat + 3 * number, 0.0) for number in (1, 2, 3)]


@pytest.mark.parametrize(("crops", "batch_size", "size"), [(3, 16, 3), (1, 16, 2), (1, 1, 1)])
def test_less_than_a_batch_is_filled_up_to_no_more_than_two_crops(crops, batch_size, size):
    steps = Sampler(seed=1, micrographs=crops, repeats=1, batch_size=batch_size, accumulate=1).epoch(1)
    assert [len(batch) for step in steps for batch in step] == [size]
