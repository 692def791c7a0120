from itertools import pairwise

import numpy as np
import pytest
import torch

from stages.randomness import rng
from tests.tuning.sage.models import (
    ANYTHING,
    LABELS,
    SAMPLER,
    SHAPE,
    SIZE,
    Logistic,
    attempts,
    linear_generator,
    linear_surrogate,
    spec,
)
from tuning.sage.latent import (
    Attempt,
    LatentSearch,
    boxed,
    rejected_rate,
    seed_latent,
    success_rate,
    within,
)
from tuning.sage.latents.controls import (
    FreshSeeds,
    RandomPerturbations,
    RandomSearch,
    natural_failure_rate,
    random_success_rate,
)
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import Distorted, PaperLoss, Targeted
from tuning.sage.validity import Validity, latent_tests

GENERATOR = linear_generator()
BRIEF = SAMPLER.model_copy(update={"steps": 2})


def drawn(latents, sampler=SAMPLER):
    pixels = GENERATOR.draw(latents, [""] * len(latents), sampler, [])
    return pixels.permute(0, 3, 1, 2).double().clone()


def sphere_optimum(member, start):
    """The largest log-odds among latents of the start's mean and norm: those of a linear function on a sphere."""
    rest = member.logits(drawn(torch.zeros(1, *SHAPE), BRIEF))[0, 1]
    slopes = member.logits(drawn(torch.eye(SIZE).view(-1, *SHAPE), BRIEF))[:, 1] - rest
    flat = torch.from_numpy(start).double().flatten()
    radius = (flat - flat.mean()).norm()
    return float(rest + flat.mean() * slopes.sum() + radius * (slopes - slopes.mean()).norm())


NEVER = -100.0
"""A bias at which no picture fails, so that the search only climbs."""


@pytest.mark.parametrize("kind", ["full", "adjoint"])
def test_it_reaches_the_optimum_on_the_sphere(kind):
    """With one member the margin is the log-odds, and a box that holds the whole sphere leaves the analytic optimum."""
    member, judge = Logistic(bias=NEVER), Logistic("judge", bias=NEVER)
    settings = spec(gradient={"kind": kind}, sampler=BRIEF, iterations=100, box=10.0, validity=ANYTHING, batch=2)
    for found in LatentSearch(settings, GENERATOR, Surrogate([member], judge, LABELS))(attempts(2)):
        best, start = sphere_optimum(member, found.start), found.curve[0]
        reached = (max(found.curve) - start) / (best - start)
        assert 0.995 < reached <= 1.001
        assert found.accepted is None
        assert found.evaluations == 101


def test_the_papers_loss_reaches_it_too():
    """It rises with the log-odds, so its optimum is the same."""
    member, judge = Logistic(bias=-6.0), Logistic("judge", bias=NEVER)
    settings = spec(loss=PaperLoss(), sampler=BRIEF, iterations=100, box=10.0, validity=ANYTHING, batch=1)
    (found,) = LatentSearch(settings, GENERATOR, Surrogate([member], judge, LABELS))(attempts(1))
    odds = float(member.logits(drawn(torch.from_numpy(found.latent[None]), BRIEF))[0, 1])
    start = float(member.logits(drawn(torch.from_numpy(found.start[None]), BRIEF))[0, 1])
    assert (odds - start) / (sphere_optimum(member, found.start) - start) > 0.99


def test_no_iteration_leaves_the_latent_bit_for_bit():
    for found in LatentSearch(spec(iterations=0), GENERATOR, linear_surrogate())(attempts(5)):
        np.testing.assert_array_equal(
            found.latent, rng(found.attempt.seed, "latent").standard_normal(SHAPE, np.float32)
        )
        assert found.evaluations == 1


@pytest.fixture(scope="module")
def searches():
    return LatentSearch(spec(iterations=60), GENERATOR, linear_surrogate(bias=-5.0))(attempts(24))


def test_it_finds_failures_and_each_passes_its_tests(searches):
    accepted = [found for found in searches if found.accepted]
    assert len(accepted) >= 20
    for found in accepted:
        assert Validity().accepts(found.latent)
        assert found.accepted.tests == latent_tests(found.latent)
        assert found.accepted.objective == found.curve[found.accepted.iteration]


def test_failures_are_failures_of_the_ordinary_sampler(searches):
    """Members and judge, asked about the picture that the generator draws from the found latent."""
    surrogate = linear_surrogate(bias=-5.0)
    accepted = [found for found in searches if found.accepted]
    pictures = GENERATOR.pictures([one.latent for one in accepted], [""] * len(accepted), range(len(accepted)), SAMPLER)
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    for member in (*surrogate.members, surrogate.judge):
        assert (member.verdict(pixels).argmax(1) == 1).all()


def test_latents_keep_norm_mean_and_box(searches):
    for found in searches:
        moved, start = (x.astype(np.float64) for x in (found.latent, found.start))
        for measure in (np.linalg.norm, np.mean, np.std):
            assert measure(moved) == pytest.approx(measure(start), rel=1e-5, abs=1e-6)
        assert np.abs(moved - start).max() <= 1.001


def test_a_row_stops_at_its_first_accepted_failure(searches):
    for found in searches:
        if found.accepted:
            assert found.evaluations == found.accepted.iteration + 1
        else:
            assert found.evaluations == 61


def test_the_search_climbs(searches):
    """Sign steps along a linear objective rise until they turn about the optimum."""
    for found in searches:
        assert all(later > earlier for earlier, later in pairwise(found.curve[:4]))


@pytest.mark.parametrize("kind", ["full", "residual", "adjoint"])
def test_a_batch_is_its_rows_one_at_a_time(kind):
    """Latents bit for bit, in any order, and although rows that stop make room for others."""
    gradient = {"kind": kind} | ({"last_steps": 2} if kind == "residual" else {})
    search = LatentSearch(spec(iterations=25, gradient=gradient, batch=3), GENERATOR, linear_surrogate(bias=-4.0))
    rows = attempts(5)
    rows[1] = Attempt(seed=1, prompt="", label="circle", target=Targeted(target="square"))
    rows[3] = Attempt(seed=3, prompt="", label="square")
    alone = [search([row])[0] for row in rows]
    together = search(rows[::-1])[::-1]
    assert len({found.evaluations for found in alone}) > 1
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.latent, other.latent)
        assert one.curve == pytest.approx(other.curve, rel=1e-12)


def test_retreats_keep_valid_what_would_leave():
    """Of smooth directions, which a sign step makes an outlier of: with retreats every latent is valid, without few."""
    slope = np.sign(np.cumsum(rng(0, "smooth").standard_normal((4, 16, 16)), axis=2)).astype(np.float32)
    settings = spec()
    valid = {0: 0, 6: 0}
    for seed in range(20):
        start = rng(seed, "latent").standard_normal((4, 16, 16), dtype=np.float32)
        if Validity().accepts(start):
            for retreats in valid:
                moved = within(start, slope, settings.model_copy(update={"retreats": retreats}))
                valid[retreats] += Validity().accepts(moved)
                assert (moved != start).any()
    assert valid[6] >= 15
    assert valid[0] <= 3


@pytest.mark.parametrize("box", [0.3, 1.0])
def test_the_box_and_the_sphere_hold_together(box):
    random = rng(0, "box")
    start = random.standard_normal((4, 16, 16), dtype=np.float32)
    moved = boxed(start, random.uniform(-3, 3, start.shape).astype(np.float32), box)
    assert np.abs(moved - start).max() <= 1.001 * box
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(start), rel=1e-5)


def test_without_an_early_stop_the_clearest_failure_is_kept():
    surrogate = linear_surrogate(bias=-3.0)
    first, clearest = (
        LatentSearch(spec(iterations=40, early_stop=stop), GENERATOR, surrogate)(attempts(3)) for stop in (True, False)
    )
    for one, other in zip(first, clearest, strict=True):
        assert other.evaluations == 41
        assert other.accepted.objective >= one.accepted.objective
        assert other.first.iteration == one.first.iteration
        assert other.curve[: one.evaluations] == one.curve


def test_a_plain_seed_that_fails_is_natural_and_not_the_searchs():
    found = LatentSearch(spec(), GENERATOR, linear_surrogate(bias=5.0))(attempts(4))
    assert all(one.natural and one.evaluations == 1 for one in found if Validity().accepts(one.start))
    rate = success_rate(found)
    assert (rate.n, rate.n_missing) == (0, 4)


def test_a_judge_that_disagrees_confirms_nothing():
    members = linear_surrogate(bias=-3.0).members
    against = Logistic("judge", bias=NEVER)
    (found,) = LatentSearch(spec(iterations=20), GENERATOR, Surrogate(members, against, LABELS))(attempts(1))
    assert found.accepted is None
    assert max(found.curve) > 0, "the members are fooled"


def test_a_picture_that_is_not_finite_ends_its_row_only():
    class Broken(Logistic):
        def log_probabilities(self, pictures):
            found = super().log_probabilities(pictures).clone()
            found[0] = torch.nan
            return found

    surrogate = Surrogate([Broken(bias=NEVER)], Logistic("judge"), LABELS)
    first, second = LatentSearch(spec(iterations=3, batch=2), GENERATOR, surrogate)(attempts(2))
    assert first.evaluations == 1
    assert np.isnan(first.curve[0])
    np.testing.assert_array_equal(first.latent, first.start)
    assert second.accepted is None


def test_searches_beat_random_search_of_equal_budget(searches):
    """On a linear generator in 192 dimensions a gradient finds what chance does not."""
    surrogate, budget = linear_surrogate(bias=-5.0), [found.evaluations for found in searches]
    ours = success_rate(searches)
    assert ours.n == 24
    assert ours.method.startswith("Wilson")
    for draws in (FreshSeeds(), RandomPerturbations()):
        control = RandomSearch(draws, spec(), GENERATOR, surrogate)(attempts(24), budget)
        assert [one.evaluations for one in control] == budget
        assert random_success_rate(control).high < ours.low
    natural = natural_failure_rate(attempts(200), spec(batch=50), GENERATOR, surrogate)
    assert natural.n == 200
    assert natural.value < 0.05


@pytest.mark.parametrize("draws", [FreshSeeds(), RandomPerturbations()], ids=repr)
def test_a_control_is_its_rows_one_at_a_time(draws):
    control = RandomSearch(draws, spec(batch=5), GENERATOR, linear_surrogate(bias=1.2))
    rows, budget = attempts(4), [3, 7, 1, 6]
    alone = [control([row], [count])[0] for row, count in zip(rows, budget, strict=True)]
    assert control(rows, budget) == alone
    assert any(one.accepted for one in alone)
    assert all(one.accepted + one.natural <= one.failures <= one.evaluations for one in alone)


def test_random_perturbations_are_valid():
    start = seed_latent(GENERATOR, SAMPLER, 0)
    assert Validity().accepts(start)
    found = [RandomPerturbations().latent(start, attempts(1)[0], number, spec()) for number in range(1, 20)]
    assert all(Validity().accepts(one) for one in found)
    assert len({one.tobytes() for one in found}) == 19
    assert all(np.abs(one - start).max() <= 1.001 for one in found)


def test_the_rate_of_rejection_counts_first_failures(searches):
    rate = rejected_rate(searches, Validity())
    assert rate.n == sum(found.first is not None for found in searches)
    strict = rejected_rate(searches, Validity(ks_p=0.999))
    assert strict.value == 1.0


def test_other_searches_of_one_row():
    """The residual estimator on the linear generator, and distortion as a target."""
    surrogate = linear_surrogate(bias=-4.0)
    (row,) = attempts(1, target=Distorted(low=0.7))
    settings = spec(gradient={"kind": "residual", "last_steps": 2}, iterations=60, batch=1)
    (found,) = LatentSearch(settings, GENERATOR, surrogate)([row])
    assert found.accepted is not None
    log_p = surrogate.log_probabilities(drawn(torch.from_numpy(found.latent[None])))
    assert (log_p.exp() < 0.71).all()


class TestRefusals:
    def test_a_class_that_is_not_in_the_label_set(self):
        for run in (
            LatentSearch(spec(), GENERATOR, linear_surrogate()),
            lambda rows: RandomSearch(FreshSeeds(), spec(), GENERATOR, linear_surrogate())(rows, [1]),
        ):
            with pytest.raises(ValueError, match="expected a class of the label set circle, square, found 'dog'"):
                run([Attempt(seed=0, prompt="", label="dog")])

    def test_a_target_that_is_the_class(self):
        row = Attempt(seed=0, prompt="", label="circle", target=Targeted(target="circle"))
        with pytest.raises(ValueError, match="other than the prompt's class"):
            LatentSearch(spec(), GENERATOR, linear_surrogate())([row])

    def test_a_prompt_that_the_model_cannot_draw(self):
        with pytest.raises(ValueError, match="the prompt of a model without text must be empty"):
            LatentSearch(spec(), GENERATOR, linear_surrogate())([Attempt(seed=0, prompt="a dog", label="circle")])

    def test_a_residual_of_more_steps_than_there_are(self):
        with pytest.raises(ValueError, match="last_steps below the sampler's 4 steps, found 9"):
            LatentSearch(spec(gradient={"kind": "residual", "last_steps": 9}), GENERATOR, linear_surrogate())

    def test_a_budget_of_nothing(self):
        with pytest.raises(ValueError, match="at least 1 evaluation an attempt, found 0"):
            RandomSearch(FreshSeeds(), spec(), GENERATOR, linear_surrogate())(attempts(1), [0])
