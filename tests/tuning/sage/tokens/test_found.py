import pytest
from pydantic import ValidationError

from tests.tuning.sage.token_models import HELD_OUT, TRAIN, prompt, spec
from tuning.sage.targets import Targeted
from tuning.sage.tokens.found import PromptGrid, TokenAttempt, TokenSearchSpec, shots_of

SHOTS = shots_of(TRAIN.prompts, TRAIN.seeds)


def minibatches(count, **settings):
    return [spec(minibatch=4, **settings).chosen(SHOTS, number) for number in range(count)]


def test_cyclic_minibatches_show_every_picture_as_often():
    drawn = [shot for one in minibatches(3, order="cyclic") for shot in one]
    assert sorted(drawn, key=SHOTS.index) == [shot for shot in SHOTS for _ in range(2)]
    assert drawn[: len(SHOTS)] != SHOTS, "in an order that mixes prompts and seeds"
    assert drawn[: len(SHOTS)] == drawn[len(SHOTS) :]


@pytest.mark.parametrize("order", ["cyclic", "drawn"])
def test_a_minibatch_holds_no_picture_twice(order):
    for one in minibatches(20, order=order):
        assert len({*one}) == 4


def test_drawn_minibatches_differ_by_iteration_and_by_seed_and_are_the_same_again():
    first, again, other = (minibatches(5, order="drawn", order_seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len({tuple(one) for one in first}) == 5


def test_without_a_size_a_minibatch_is_everything():
    assert sorted(spec().chosen(SHOTS, 7), key=SHOTS.index) == SHOTS


class TestRefusals:
    @pytest.mark.parametrize("text", ["a red circle", "A  red Circle "])
    def test_a_held_out_prompt_that_is_trained_on(self, text):
        grid = PromptGrid(prompts=(prompt("a bright circle"), prompt(text)), seeds=(10,))
        with pytest.raises(ValidationError, match=r"held_out: expected prompts that are not in train, found '(a|A)"):
            spec(held_out=grid)

    def test_a_held_out_seed_that_is_trained_on(self):
        with pytest.raises(ValidationError, match="held_out: expected seeds that are not in train, found 1 in both"):
            spec(held_out=HELD_OUT.model_copy(update={"seeds": (10, 1)}))

    def test_a_prompt_or_a_seed_twice(self):
        with pytest.raises(ValidationError, match="expected distinct prompts, found 'a circle' twice"):
            PromptGrid(prompts=(prompt("a circle"), prompt("A circle")), seeds=(0,))
        with pytest.raises(ValidationError, match="expected distinct seeds, found 3 twice"):
            PromptGrid(prompts=(prompt("a circle"),), seeds=(3, 3))

    def test_settings_without_meaning(self):
        for settings in ({"box": 0}, {"step": -1}, {"minibatch": 0}, {"check_every": 0}, {"start": ""}, {"words": []}):
            with pytest.raises(ValidationError):
                spec(**settings)


def test_a_target_is_called_by_its_first_name():
    names = [TokenAttempt(target=Targeted(target=name)).word for name in ("goldfish, Carassius auratus", "star")]
    assert names == ["goldfish", "star"]


def test_settings_survive_json():
    settings = spec(gradient={"kind": "residual"}, loss={"kind": "paper"}, scale="rms", words=("red",))
    assert TokenSearchSpec.model_validate_json(settings.model_dump_json()) == settings
    attempt = TokenAttempt(target=Targeted(target="square"), label="circle")
    assert TokenAttempt.model_validate_json(attempt.model_dump_json()) == attempt
