import diffusers
import pytest

from stages.sampling.respacing import fast27, sections


@pytest.mark.parametrize("steps", [2, 10, 27, 50, 99, 100, 250, 999, 1000])
def test_one_section_is_what_diffusers_calls_linspace(steps):
    scheduler = diffusers.DDPMScheduler(timestep_spacing="linspace")
    scheduler.set_timesteps(steps)
    assert sections(1000, [steps]) == scheduler.timesteps.tolist()


def test_sections_share_the_training_steps_as_the_papers_code_does():
    """Its own example: 300 steps in parts of 10, 15 and 20; and parts that are not equally long."""
    steps = sections(300, [10, 15, 20])
    assert [sum(start <= t < start + 100 for t in steps) for start in (0, 100, 200)] == [10, 15, 20]
    assert steps[:1] + steps[-1:] == [299, 0]
    assert sections(10, [1, 2, 2]) == [9, 7, 6, 4, 0]


def test_fast27_is_glides():
    found = fast27(1000)
    assert found == sorted(found, reverse=True)
    assert len(found) == 27
    assert found[:6] == [997, 800, 799, 600, 599, 500]
    assert found[-4:] == [66, 44, 22, 0]


def test_too_many_steps_for_a_part():
    with pytest.raises(ValueError, match="a part of 5 training steps cannot be visited in 6 steps"):
        sections(10, [6, 1])
