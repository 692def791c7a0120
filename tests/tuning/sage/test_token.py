import numpy as np
import pytest
import torch

from stages.sampling.gradients import Full, pictures
from stages.sampling.prompts import Extended
from tests.tuning.sage.models import LABELS, Logistic, linear_generator
from tests.tuning.sage.prompt_models import generator, surrogate
from tests.tuning.sage.token_models import HELD_OUT, SAMPLER, TRAIN, WIDTH, linear_pictures, prompt, spec
from tuning.sage.latent import seed_latent
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import Distorted, Targeted, Untargeted
from tuning.sage.token import TokenSearch
from tuning.sage.tokens.found import PromptGrid, TokenAttempt, shots_of
from tuning.sage.tokens.pictures import Asked, TokenPictures

GENERATOR, LINEAR = generator(), linear_pictures()
TO_SQUARE = TokenAttempt(target=Targeted(target="square"))
SHOTS = shots_of(TO_SQUARE.trained_on(TRAIN), TRAIN.seeds)
NEVER = -1000.0
"""A bias at which no picture fails."""


def search(model=GENERATOR, ensemble=None, **settings):
    return TokenSearch(spec(**settings), model, ensemble or surrogate(NEVER))


def vectors(count, scale=0.4):
    width = GENERATOR.token_space().table.shape[1]
    return scale * torch.randn(count, 1, width, generator=torch.Generator().manual_seed(0))


def whole(model=GENERATOR, **settings):
    return TokenPictures(spec(**settings), model, surrogate())


def slope(at, model=GENERATOR, **settings):
    (found,) = whole(model, **settings).slopes([Asked(TO_SQUARE.target, SHOTS, at)])
    return found


def test_the_gradient_is_that_of_finite_differences():
    """Of the mean loss over prompts and seeds, along some axes of the vector."""
    (at,), h, drawn = vectors(1), 0.01, whole(batch=32)
    axes = h * torch.eye(at.numel())[:12, None]
    ends = torch.cat([at + axes, at - axes, at[None]]).repeat_interleave(len(SHOTS), 0)
    losses = drawn.see(TO_SQUARE.target, SHOTS * (len(ends) // len(SHOTS)), ends).losses.reshape(-1, len(SHOTS)).mean(1)
    differences = torch.from_numpy(losses[:12] - losses[12:24]).float() / (2 * h)
    found = slope(at)
    along = found.gradient[0, :12]
    assert torch.cosine_similarity(along, differences, dim=0) > 0.99
    assert along.norm() == pytest.approx(float(differences.norm()), rel=0.05)
    assert found.objective == pytest.approx(losses[24], abs=1e-3)


@pytest.mark.parametrize(
    ("model", "at"), [(GENERATOR, vectors(1)[0]), (LINEAR, torch.zeros(1, WIDTH))], ids=["network", "linear"]
)
def test_a_residual_gradient_is_of_the_same_loss(model, at):
    """And of the same direction where pictures are linear in the vector."""
    kinds = ({"kind": "full"}, {"kind": "residual", "last_steps": 2})
    full, residual = (slope(at, model, gradient=kind) for kind in kinds)
    assert residual.objective == pytest.approx(full.objective, abs=1e-3)
    assert (residual.gradient != 0).all()
    if model is LINEAR:
        assert torch.cosine_similarity(full.gradient[0], residual.gradient[0], dim=0) > 0.999


@pytest.mark.parametrize("scale", ["absolute", "rms"])
@pytest.mark.parametrize("minibatch", [None, 3])
def test_it_reaches_the_best_corner_of_the_box_where_the_loss_is_linear(scale, minibatch):
    """A linear function rises most towards the corner that its slope's signs name."""
    climb = search(LINEAR, scale=scale, iterations=11, box=0.5, step=0.05, minibatch=minibatch)
    (found,) = climb([TO_SQUARE])
    ends = torch.cat([torch.zeros(1, WIDTH), 0.1 * torch.eye(WIDTH)])[:, None, None].expand(-1, len(SHOTS), 1, WIDTH)
    rest, *along = (climb.pictures.see(TO_SQUARE.target, SHOTS, end).losses.mean() for end in ends)
    slopes = (np.array(along) - rest) / 0.1
    np.testing.assert_allclose(found.vector[0], climb.box * np.sign(slopes), rtol=1e-6)
    assert found.kept.objective == pytest.approx(rest + climb.box * np.abs(slopes).sum(), rel=1e-3)
    assert np.abs(found.vector).max() == pytest.approx(climb.box)


@pytest.mark.parametrize("scale", ["absolute", "rms"])
def test_the_box_holds(scale):
    climb = search(LINEAR, scale=scale, iterations=4, box=0.2, step=0.07, check_every=1)
    (found,) = climb([TO_SQUARE])
    largest = [np.abs(check.vector).max() for check in found.checks]
    assert largest == pytest.approx([share * climb.box for share in (0, 0.35, 0.7, 1, 1)], rel=1e-5)


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"step": 0.0}], ids=["no iteration", "no step"])
@pytest.mark.parametrize("start", ["zero", "mean", "red"])
def test_without_a_step_the_start_is_what_is_found(settings, start):
    climb = search(LINEAR, start=start, box=100.0, **settings)
    (found,) = climb([TO_SQUARE])
    np.testing.assert_array_equal(found.vector, climb.start)
    assert found.kept.iteration == 0
    assert len({check.objective for check in found.checks}) == 1


def test_pictures_with_a_vector_are_those_of_the_model():
    drawn, behind = whole(), vectors(len(SHOTS))
    latents = torch.from_numpy(np.stack([seed_latent(GENERATOR, SAMPLER, shot.seed) for shot in SHOTS]))
    texts = [shot.prompt.text for shot in SHOTS]
    with torch.no_grad():
        by_hand = pictures(GENERATOR, latents, Extended(texts, behind), SAMPLER, Full())
    assert torch.equal(drawn.draw(SHOTS, behind), by_hand)
    assert torch.equal(drawn.draw(SHOTS), GENERATOR.draw(latents, texts, SAMPLER, []))
    assert not torch.allclose(drawn.draw(SHOTS), by_hand, atol=1e-2)


def test_what_is_seen_is_seen_in_pictures_drawn_one_at_a_time():
    behind = vectors(len(SHOTS))
    rest = TokenPictures(spec(), GENERATOR, surrogate(bias=0.0)).see(TO_SQUARE.target, SHOTS, behind).losses
    ensemble = surrogate(bias=-np.median(rest) / 2)  # of each of two members, so that half of the pictures fail
    drawn = TokenPictures(spec(batch=3), GENERATOR, ensemble)
    seen = drawn.see(TO_SQUARE.target, SHOTS, behind)
    assert 0 < seen.fails.mean() < 1
    for row, shot in enumerate(SHOTS):
        pixels = drawn.draw([shot], behind[row : row + 1]).permute(0, 3, 1, 2)
        odds = [float(member.logits(pixels.clamp(0, 1))[0, 1]) for member in ensemble.members]
        assert seen.losses[row] == pytest.approx(sum(odds), abs=1e-3)
        assert seen.fails[row] == float(ensemble.fails(pixels, [shot.prompt.label], [TO_SQUARE.target]))


def test_a_batch_of_attacks_is_its_attacks_one_at_a_time():
    attempts = [
        TO_SQUARE,
        TokenAttempt(target=Targeted(target="circle")),
        TokenAttempt(target=Untargeted(), label="circle"),
        TokenAttempt(target=Untargeted()),
        TokenAttempt(target=Distorted(low=0.6)),
    ]
    climb = search(LINEAR, surrogate(bias=-5.0), minibatch=2, batch=3, iterations=3, check_every=3)
    together = climb(attempts[::-1])[::-1]
    assert len({found.vector.tobytes() for found in together}) >= 3
    for attempt, other in zip(attempts, together, strict=True):
        (alone,) = climb([attempt])
        np.testing.assert_array_equal(alone.vector, other.vector)
        assert alone.curve == pytest.approx(other.curve, abs=1e-3)
        assert [check.share for check in alone.checks] == [check.share for check in other.checks]
        assert alone.evaluations == other.evaluations


def test_the_pictures_drawn_are_the_pictures_counted():
    drawn = []
    handle = LINEAR.pipe.unet.register_forward_pre_hook(lambda _, given: drawn.append(len(given[0]) // 2))
    climb = search(LINEAR, minibatch=2, batch=2, iterations=5, check_every=2)
    ticks = list(climb.ticks([TO_SQUARE]))
    handle.remove()
    (found,) = ticks[-1].ended
    assert found.gradient_pictures == 2 * 5
    assert found.checked_pictures == len(SHOTS) * 4, "of the start, after 2 and 4 steps, and of the end"
    assert [check.iteration for check in found.checks] == [0, 2, 4, 5]
    assert sum(drawn) == found.checked_pictures * 3 + found.gradient_pictures * climb.spec.gradient.cost(3).forwards
    assert [tick.pictures for tick in ticks] == sorted(tick.pictures for tick in ticks)
    assert ticks[-1].pictures == found.evaluations


def test_the_best_check_is_kept_or_the_last():
    """Minibatches of one picture each pull towards the class that its prompt does not name."""
    settings = {"iterations": 8, "step": 0.2, "check_every": 1, "minibatch": 1}
    best, last = (
        search(LINEAR, keep=keep, **settings)([TokenAttempt(target=Untargeted())])[0] for keep in ("best", "last")
    )
    objectives = [check.objective for check in best.checks]
    assert np.argmax(objectives) not in (0, 8)
    assert best.kept.iteration == np.argmax(objectives)
    assert last.kept.iteration == 8
    assert objectives == [check.objective for check in last.checks]


def test_without_minibatches_the_curve_is_the_true_loss():
    (found,) = search(LINEAR, check_every=1)([TO_SQUARE])
    assert found.curve == pytest.approx([check.objective for check in found.checks[:-1]], abs=1e-3)


def test_a_gradient_that_is_not_finite_ends_its_search_only():
    class BrokenOnce(Logistic):
        def log_probabilities(self, pictures):
            found = super().log_probabilities(pictures)
            if not pictures.requires_grad or hasattr(self, "broken"):
                return found
            self.broken = True
            return found.clone().index_fill_(0, torch.tensor([0]), torch.nan)

    ensemble = Surrogate([BrokenOnce(bias=NEVER)], Logistic("judge", bias=NEVER), LABELS)
    attempts = [TO_SQUARE, TokenAttempt(target=Untargeted(), label="circle")]
    ticks = list(search(LINEAR, ensemble, iterations=2).ticks(attempts))
    assert [[found.attempt for found in tick.ended] for tick in ticks] == [[], attempts[:1], attempts[1:]]
    ((first,), (second,)) = (tick.ended for tick in ticks[1:])
    assert np.isnan(first.curve).tolist() == [True]
    assert (first.vector == first.start).all()
    assert np.isfinite(second.curve).all()
    assert (second.vector != second.start).any()


class TestRefusals:
    def test_classes_and_targets(self):
        for attempt, why in (
            (
                TokenAttempt(target=Targeted(target="dog")),
                "expected a class of the label set circle, square, found 'dog'",
            ),
            (TokenAttempt(target=Untargeted(), label="dog"), "expected a class of the label set .* found 'dog'"),
            (TokenAttempt(target=Targeted(target="circle"), label="circle"), "target other than the prompt's class"),
        ):
            with pytest.raises(ValueError, match=why):
                search()([attempt])

    def test_a_prompt_of_no_class(self):
        other = PromptGrid(prompts=(prompt("a dog", "dog"),), seeds=(20,))
        with pytest.raises(ValueError, match="expected a class of the label set circle, square, found 'dog'"):
            search(held_out=other)([TO_SQUARE])

    def test_no_prompt_left(self):
        squares = PromptGrid(prompts=(prompt("square", "square"),), seeds=(20,))
        with pytest.raises(ValueError, match=r"expected a train prompt of a class other than 'square', found none$"):
            search(train=squares)([TO_SQUARE])
        with pytest.raises(ValueError, match=r"expected a held-out prompt of a class other than 'square', found none$"):
            search(held_out=squares)([TO_SQUARE])
        with pytest.raises(ValueError, match=r"expected a train prompt of the class 'circle', found none$"):
            search(train=squares)([TokenAttempt(target=Untargeted(), label="circle")])

    def test_a_minibatch_of_more_than_there_is(self):
        with pytest.raises(ValueError, match="minibatch of at most the 4 train pictures, found 5; name more"):
            search(minibatch=5)([TO_SQUARE])

    @pytest.mark.parametrize(("length", "refused"), [(9, False), (10, True)])
    def test_a_prompt_without_room(self, length, refused):
        long = PromptGrid(prompts=(prompt("a " * (length - 1) + "circle"),), seeds=(20,))
        for grids in ({"held_out": long}, {"train": long}):
            climb = search(LINEAR, **grids, iterations=0)
            if refused:
                with pytest.raises(ValueError, match="room for 1 behind the prompt, found 0 of"):
                    climb([TO_SQUARE])
            else:
                assert climb([TO_SQUARE])

    def test_a_start_outside_the_box(self):
        with pytest.raises(
            ValueError, match=r"a start in the box of 0.01, found an entry of [\d.]+ in the start 'red'"
        ):
            search(start="red", box=0.01)

    def test_a_model_without_text(self):
        with pytest.raises(ValueError, match="expected a model whose one text encoder is CLIP's"):
            search(linear_generator())

    def test_a_gradient_that_does_not_reach_prompts(self):
        with pytest.raises(ValueError, match="'full', 'residual'"):
            spec(gradient={"kind": "adjoint"})

    def test_a_residual_of_more_steps_than_there_are(self):
        with pytest.raises(ValueError, match="last_steps below the sampler's 3 steps, found 9"):
            search(gradient={"kind": "residual", "last_steps": 9})


def test_held_out_prompts_leave_the_target_out_but_not_other_classes():
    attempt = TokenAttempt(target=Untargeted(), label="circle")
    assert {one.label for one in attempt.trained_on(TRAIN)} == {"circle"}
    assert {one.label for one in attempt.tried_on(HELD_OUT)} == {"circle", "square"}
    assert {one.label for one in TO_SQUARE.tried_on(HELD_OUT)} == {"circle"}
