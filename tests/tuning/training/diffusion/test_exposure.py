"""Exposure bias: none where sampling starts or for other real pictures; large where an untrained network has led."""

import numpy as np
import pytest
import torch

from stages.sampling import SamplerSpec
from tests.tuning.training.diffusion.test_twins import BUDGET, study
from tuning.training.diffusion.attack import noised
from tuning.training.diffusion.exposure import Step, Walked, read, walk
from tuning.training.diffusion.twins import Probe, Probed
from tuning.training.trial import trained

DATA = {"source": {"kind": "world", "side_px": 8, "count": 400}, "count": 200}


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Probed:
    output = tmp_path_factory.mktemp("runs")
    model = study(output).model.model_dump(mode="json") | {"data": DATA, "budget": BUDGET}
    made = study(output, model=model, probe={"pictures": 200, "walk": {"scheduler": "ddim", "steps": 4, "guidance": 1}})
    task = made.tasks()["original"]
    list(trained(task))
    walk(task)
    return task


@pytest.fixture(scope="module")
def steps(task) -> list[Step]:
    return read(task)


def test_sampling_starts_where_training_ends_and_an_untrained_network_leads_away(steps):
    times = [step.time for step in steps]
    assert times == sorted(times, reverse=True)
    assert len(times) == 4
    first, last = steps[0].drawn, steps[-1].drawn
    assert first.low < 0 < first.high
    assert last.low > steps[-1].unseen.high
    assert last.value > 10 * abs(steps[-1].unseen.value)
    assert all(step.drawn.n == step.unseen.n == 200 for step in steps)


def test_other_real_pictures_are_as_near_as_can_be(steps):
    """Unbiased: about 0, and 0 within most intervals; the reference is held fixed, so that it is not within all."""
    sizes = np.array([step.unseen.value / (step.unseen.high - step.unseen.low) for step in steps])
    assert (np.abs(sizes) < 2).all()


def test_states_are_those_that_draw_the_picture(task):
    walked = Walked(task)
    states = walked.states()
    time = min(states)
    label = task.model.data.source.load(task.model.data.unseen(200)[:1]).labels[0]
    name = next(name for name, number in walked.model.classes.items() if number == label)
    output = walked.model.predict(states[time][:1], torch.tensor(time), walked.model.condition([name], task.probe.walk))
    last = walked.model.clean(walked._noise(range(1)), [name], task.probe.walk, [torch.Generator()])
    signal = walked.signal[time].view(1, 1, 1, 1)
    clean = (states[time][:1] - (1 - signal).sqrt() * output[:, :3]) / signal.sqrt()
    torch.testing.assert_close(last, clean.clamp(-1, 1), rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(noised(clean, output[:, :3], signal), states[time][:1], rtol=1e-4, atol=1e-4)


def test_a_sampler_with_other_states_is_refused():
    with pytest.raises(ValueError, match="expected a scheduler whose states are noisy pictures, ddim or ddpm, found"):
        Probe(walk=SamplerSpec(scheduler="euler"))
