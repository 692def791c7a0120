"""Time steps drawn by their losses: the loss that is learned stays the uniform one."""

import pytest
import torch

from tuning.training.diffusion.times import EXPLORED, REMEMBERED, LossAware, Times, Uniform
from tuning.training.zoo.loop import generator

LEVELS = 5
LOSSES = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])


def learned(rounds: int = REMEMBERED) -> LossAware:
    times = LossAware(LEVELS)
    for _ in range(rounds):
        times.learn(torch.arange(LEVELS), LOSSES)
    return times


TABLE = [Uniform(LEVELS), LossAware(LEVELS), learned()]


@pytest.mark.parametrize("times", TABLE, ids=lambda times: type(times).__name__)
def test_the_weighted_loss_is_the_uniform_mean(times: Times):
    time, weight = times.draw(40_000, generator(0, "time"))
    assert (weight * LOSSES[time]).mean().item() == pytest.approx(LOSSES.mean().item(), rel=0.01)
    again, _ = times.draw(40_000, generator(0, "time"))
    assert torch.equal(time, again)
    assert set(time.tolist()) == set(range(LEVELS))


def test_steps_are_drawn_evenly_until_each_is_known():
    assert torch.equal(learned(REMEMBERED - 1).shares(), torch.full((LEVELS,), 0.2, dtype=torch.float64))
    wanted = (1 - EXPLORED) * LOSSES.double() / LOSSES.sum() + EXPLORED / LEVELS
    torch.testing.assert_close(learned().shares(), wanted)
    assert learned().shares().sum().item() == pytest.approx(1)


def test_the_weights_make_the_variance_vanish_where_losses_are_as_known():
    time, weight = learned().draw(1000, generator(1, "time"))
    assert (weight * LOSSES[time]).std() / LOSSES.mean() < 2 * EXPLORED * LEVELS


def test_old_losses_are_forgotten():
    times = learned(1)
    for _ in range(REMEMBERED):
        times.learn(torch.arange(LEVELS), torch.ones(LEVELS))
    torch.testing.assert_close(times.shares(), torch.full((LEVELS,), 0.2, dtype=torch.float64))


def test_a_step_that_occurs_twice_is_noted_twice():
    times = LossAware(2)
    times.learn(torch.tensor([1, 1]), torch.tensor([3.0, 4.0]))
    assert times.losses[1, :2].tolist() == [3.0, 4.0]
    assert times.drawn.tolist() == [0, 2]


def test_the_state_is_all_that_later_draws_depend_on():
    times, other = learned(), LossAware(LEVELS)
    other.restore(times.state())
    other.learn(torch.tensor([0]), torch.tensor([9.0]))
    times.learn(torch.tensor([0]), torch.tensor([9.0]))
    assert torch.equal(times.shares(), other.shares())
