"""The mathematics of distillation: the boundary, the teacher's step and the distance, against diffusers and by hand."""

import torch
from diffusers import DDIMScheduler, LCMScheduler

from tuning.training.consistency.skipping import Solver, boundary, consistent, distance, guided
from tuning.training.zoo.captioned import BETAS

DDIM = DDIMScheduler(**BETAS["scaled_linear"], clip_sample=False, set_alpha_to_one=False)
SOLVER = Solver(DDIM.alphas_cumprod, skip=20)
RANDOM = torch.Generator().manual_seed(0)
X, NOISE = (torch.randn(3, 4, 8, 8, generator=RANDOM) for _ in range(2))


def test_the_steps_are_those_of_the_scheduler_that_draws():
    lcm = LCMScheduler(**BETAS["scaled_linear"], original_inference_steps=50)
    lcm.set_timesteps(50)
    assert SOLVER.starts.flip(0).tolist() == lcm.timesteps.tolist()


def test_the_boundary_is_that_of_the_scheduler_that_draws():
    lcm = LCMScheduler()
    for time in (0, 19, 499, 999):
        skip, out = boundary(torch.tensor([time]))
        expected = lcm.get_scalings_for_boundary_condition_discrete(torch.tensor(time))
        torch.testing.assert_close(torch.stack([skip.squeeze(), out.squeeze()]), torch.stack(expected))


def test_where_nothing_is_left_to_skip_the_answer_is_the_state():
    found = consistent(lambda x, _: 7 * x, X, torch.zeros(3, dtype=torch.int64), SOLVER)
    torch.testing.assert_close(found, X)


def test_the_teachers_step_is_that_of_diffusers():
    DDIM.set_timesteps(50)  # steps of 20, the last of them to the first training step's level
    for time in (19, 39, 999):
        expected = DDIM.step(NOISE, time, X).prev_sample
        torch.testing.assert_close(SOLVER.step(X, NOISE, torch.full((3,), time)), expected, rtol=1e-4, atol=1e-5)


def test_on_one_picture_every_state_leads_to_it():
    """The exact noise of a single picture: the teacher's step stays on the line to it, the answer is the picture."""
    one, time = torch.randn(1, 4, 8, 8, generator=RANDOM), torch.tensor([199, 599, 999])

    def exact(x, at):
        signal = SOLVER.at(at)
        return (x - signal.sqrt() * one) / (1 - signal).sqrt()

    before = SOLVER.step(X, exact(X, time), time)
    torch.testing.assert_close(exact(before, SOLVER.after(time)), exact(X, time), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(consistent(exact, X, time, SOLVER), one.expand_as(X), rtol=1e-2, atol=1e-2)
    moved = consistent(exact, before + 0.1 * NOISE, SOLVER.after(time), SOLVER)
    torch.testing.assert_close(moved, one.expand_as(X), rtol=1e-2, atol=1e-2)


def test_guidance_of_one_is_the_prompt_alone_and_of_zero_none():
    torch.testing.assert_close(guided(X, NOISE, torch.ones(3)), X)
    torch.testing.assert_close(guided(X, NOISE, torch.zeros(3)), NOISE)


def test_the_distance_is_nil_for_equals_quadratic_near_and_linear_far():
    assert distance(X, X, 0.001).tolist() == [0.0] * 3
    far, near = torch.full((1, 1, 2, 2), 5.0), torch.full((1, 1, 2, 2), 1e-3)
    torch.testing.assert_close(distance(far, 0 * far, 0.001), torch.tensor([4.999]), rtol=1e-4, atol=0)
    torch.testing.assert_close(distance(near, 0 * near, 1.0), torch.tensor([5e-7]), rtol=0.1, atol=0)
