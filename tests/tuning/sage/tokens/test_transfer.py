from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.models.clip import load_clip
from stages.models.spec import ModelSpec
from stages.randomness import rng
from tests.tuning.sage.models import LABELS, Logistic
from tests.tuning.sage.prompt_models import surrogate
from tests.tuning.sage.token_models import HELD_OUT, TRAIN, linear_pictures, prompt, spec
from tuning.sage import failures
from tuning.sage.confirming import Confirming
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import Targeted, Untargeted
from tuning.sage.token import TokenSearch
from tuning.sage.tokens.controls import TokenControls
from tuning.sage.tokens.failing import shots
from tuning.sage.tokens.found import PromptGrid, TokenAttempt
from tuning.sage.tokens.transfer import CELLS, Cell, TokenTransfer, Transfer
from tuning.sage.tokens.vectors import tokens_of

LINEAR = linear_pictures()
SPACE = LINEAR.token_space()
TO_SQUARE = TokenAttempt(target=Targeted(target="square"))
EASY = {"iterations": 10, "step": 5.0, "box": 50.0, "check_every": 5}


def search(clip=None, ensemble=None, **settings):
    return TokenSearch(spec(**(EASY | settings)), LINEAR, ensemble or surrogate(bias=-5.0), clip)


@pytest.fixture(scope="module")
def clip(clip_folder):
    return load_clip(ModelSpec(model=clip_folder, device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def transfer(clip):
    climb = search(clip)
    (found,) = climb([TO_SQUARE])
    return TokenTransfer(climb)(found)


def test_the_cells_are_known_and_new_prompts_on_known_and_new_seeds(transfer):
    circles = {
        known: {p.text for p in grid.prompts if p.label == "circle"}
        for known, grid in (("train", TRAIN), ("new", HELD_OUT))
    }
    seeds = {"train": {*TRAIN.seeds}, "new": {*HELD_OUT.seeds}}
    for cell in CELLS:
        shots = [transfer.shots[row] for row in transfer.rows(cell)]
        assert {shot.prompt.text for shot in shots} == circles[cell.prompts]
        assert {shot.seed for shot in shots} == seeds[cell.seeds]
        assert len({*shots}) == len(shots) == len(circles[cell.prompts]) * len(seeds[cell.seeds])


def test_what_is_seen_with_the_vector_found_is_what_the_search_saw(transfer):
    rows = transfer.rows(Cell("train", "train"))
    kept = transfer.found.kept
    assert transfer.seen["found"].losses[rows].mean() == pytest.approx(kept.objective, abs=1e-3)
    assert transfer.seen["found"].fails[rows].mean() == kept.share


def test_the_token_works_everywhere_where_pictures_are_linear_in_it(transfer):
    """And chance of the same norm does not; nothing behind a prompt is no change."""
    for cell in CELLS:
        success = {arm: transfer.success(arm, cell).value for arm in transfer.seen}
        assert success["found"] == 1.0
        assert success["random_vector"] <= success["found"]
        assert transfer.gain("found", cell).value == pytest.approx(1 - success["plain"])
        assert transfer.gain("plain", cell).value == transfer.clip_change("plain", cell).value == 0


def test_a_token_that_is_the_targets_word_does_what_the_word_does():
    climb = search(start="square", iterations=0)
    (found,) = climb([TO_SQUARE])
    whole = TokenTransfer(climb)(found)
    for column, word in zip(whole.seen["found"], whole.seen["target_word"], strict=True):
        np.testing.assert_array_equal(column, word)
    assert whole.nearest[0] == "square"


def test_pictures_are_counted_exactly():
    climb = search(check_every=3)
    (found,) = climb([TO_SQUARE])
    drawn = []
    handle = LINEAR.pipe.unet.register_forward_pre_hook(
        lambda _, given, __: drawn.append(len(given[0]) // 2), with_kwargs=True
    )
    whole = TokenTransfer(climb)(found)
    handle.remove()
    searched = found.evaluations // 4 * 4
    assert whole.evaluations == 6 * len(whole.shots) + searched
    padded = -(-len(whole.shots) // 4) * 4
    assert sum(drawn) == 3 * (6 * padded + searched)


def test_every_number_is_an_estimate_of_all_pictures_of_its_cell(transfer):
    table = list(transfer.table())
    assert len(table) == 6 * 4
    for row in table:
        n = len(transfer.rows(row.cell))
        assert [one.n for one in (row.success, row.gain, row.clip, row.clip_change)] == [n] * 4
        assert row.success.low <= row.success.value <= row.success.high
        assert row.gain.low < row.gain.high
        assert "clusters" in row.success.method


def test_clip_reads_the_prompt_without_what_stands_behind_it(transfer, clip):
    """The score of a picture that is drawn alone, with the text of its prompt."""
    climb = search(clip)
    behind = torch.from_numpy(transfer.found.vector)[None]
    for row in (0, len(transfer.shots) - 1):
        shot = transfer.shots[row]
        (pixels,) = climb.pictures.draw([shot], behind)
        picture = (pixels.clamp(0, 1) * 255).round().byte().numpy()
        score = 100 * max(0.0, float(clip.cosine([picture], [shot.prompt.text])[0]))
        assert transfer.seen["found"].clip[row] == pytest.approx(score, abs=1e-2)


def test_without_clip_its_scores_are_missing_and_not_zero():
    climb = search(iterations=0, controls=())
    (found,) = climb([TO_SQUARE])
    whole = TokenTransfer(climb)(found)
    assert [*whole.seen] == ["plain", "found"]
    for of in (whole.clip, whole.clip_change):
        assert np.isnan(of("found", CELLS[0]).value)
        assert of("found", CELLS[0]).n == 0


def test_a_picture_that_is_not_finite_is_missing():
    class Broken(Logistic):
        def verdict(self, pictures):
            found = super().verdict(pictures).clone()
            found[0] = torch.nan
            return found

    ensemble = Surrogate([Logistic()], Broken("judge"), LABELS)
    climb = search(ensemble=ensemble, iterations=0, controls=(), batch=100)
    (found,) = climb([TO_SQUARE])
    whole = TokenTransfer(climb)(found)
    assert whole.success("found", CELLS[0]).n_missing == 1
    assert np.isnan(whole.seen["found"].losses).tolist() == [True] + [False] * (len(whole.shots) - 1)


class TestControls:
    def vectors(self, control, **settings):
        climb = search(iterations=1, **settings)
        (found,) = climb([TO_SQUARE])
        shots = [shot for _, shot in TokenTransfer(climb).cells(found)]
        return climb, found, TokenControls(climb)(control, found, shots)

    def test_random_vectors_have_the_norm_found_and_directions_of_their_own(self):
        _, found, drawn = self.vectors("random_vector")
        np.testing.assert_allclose(drawn.norm(dim=2), np.linalg.norm(found.vector), rtol=1e-5)
        assert len({one.numpy().tobytes() for one in drawn}) == len(drawn)
        assert torch.equal(drawn, self.vectors("random_vector")[2])

    def test_random_words_are_those_that_are_named(self):
        _, _, drawn = self.vectors("random_word", words=("red", "darkish"))
        known = {tokens_of(SPACE, word).mean(0).numpy().tobytes() for word in ("red", "darkish")}
        assert {one[0].numpy().tobytes() for one in drawn} == known

    def test_the_targets_word_is_all_of_its_tokens(self):
        _, _, drawn = self.vectors("target_word")
        assert torch.equal(drawn, tokens_of(SPACE, "square").expand(len(drawn), -1, -1))

    def test_random_search_is_the_best_of_as_many_pictures(self):
        climb, found, drawn = self.vectors("random_search")
        assert found.evaluations == 4 + 4 + 4
        box, drawn_on = climb.box, TokenTransfer(climb).cells(found)
        tried = [rng(0, "random token", n).uniform(-box, box, (1, 6)).astype(np.float32) for n in range(3)]
        trained = [shot for cell, shot in drawn_on if cell == CELLS[0]]
        behind = [torch.from_numpy(vector).expand(4, 1, -1) for vector in tried]
        losses = [climb.pictures.see(TO_SQUARE.target, trained, one).losses.mean() for one in behind]
        np.testing.assert_array_equal(drawn[0], tried[int(np.argmax(losses))])

    def test_a_target_without_a_class_has_no_word(self):
        climb = search(iterations=0)
        (found,) = climb([TokenAttempt(target=Untargeted())])
        assert TokenControls(climb).of(found) == ["random_vector", "random_word", "random_search"]


def test_a_prompt_without_room_for_all_tokens_of_the_targets_word():
    ensemble = surrogate()
    ensemble = Surrogate(ensemble.members, ensemble.judge, ("circle", "darkish square"))
    grid = PromptGrid(prompts=(prompt("a photo of the bright red circle on"),), seeds=(20,))
    attempt = TokenAttempt(target=Targeted(target="darkish square"))
    held_out = HELD_OUT.model_copy(update={"prompts": HELD_OUT.prompts[:1]})
    train = PromptGrid(prompts=grid.prompts, seeds=(0,))
    with pytest.raises(ValueError, match="expected room for 3 behind the prompt, found 2"):
        search(ensemble=ensemble, train=train, held_out=held_out)([attempt])
    assert search(ensemble=ensemble, train=train, held_out=held_out, controls=(), iterations=0)([attempt])


def test_clusters_widen_an_interval():
    """All pictures of one seed agree, so that there are as many independent ones as seeds."""
    shots = [SimpleNamespace(prompt=SimpleNamespace(text=text), seed=seed) for text in "abcdefgh" for seed in range(4)]
    fails = np.array([float(shot.seed < 2) for shot in shots])
    seen = {"found": SimpleNamespace(fails=fails)}
    whole = Transfer(None, None, [], shots, [CELLS[0]] * len(shots), seen, 0)
    rate = whole.success("found", CELLS[0])
    assert rate.value == 0.5
    assert "3 effective of 32 rows in 4 clusters" in rate.method


def test_pictures_of_new_prompts_that_show_the_target_are_kept(transfer, tmp_path):
    climb = search()
    confirming = Confirming("zoo:text-to-image", climb.spec.sampler, LINEAR, surrogate(bias=-5.0), tmp_path)
    rows = shots(transfer, confirming)
    new = transfer.rows(Cell("new", "new"))
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (transfer.shots[row].prompt.text, transfer.shots[row].seed) for row in new
    ]
    for row, number in zip(rows, new, strict=True):
        assert row["natural"] == (transfer.seen["plain"].fails[number] == 1)
        assert row["success"] == (not row["natural"])  # the token works everywhere here
    saved = failures.every(tmp_path)
    assert {one.failure.name for one in saved} == {row["failure"] for row in rows if row["success"]}
    for one in saved:
        np.testing.assert_array_equal(one.vectors, transfer.found.vector)
        assert one.failure.target == Targeted(target="square")
