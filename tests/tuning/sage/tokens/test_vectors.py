import numpy as np
import pytest
import torch

from tests.tuning.sage.prompt_models import AFTER, LABELS, generator
from tests.tuning.sage.token_models import WIDTH, linear_pictures, spec
from tuning.sage.tokens.vectors import nearest, of_word, start, tokens_of, unit, vector_tests, words

SPACE = generator().token_space()
LINEAR = linear_pictures().token_space()


def numpy(vector):
    return vector[None].numpy()


def test_the_unit_is_the_root_mean_square_of_the_table():
    assert unit(SPACE, "absolute") == 1
    assert unit(SPACE, "rms") ** 2 == pytest.approx(float(SPACE.table.square().mean()))


def test_starts():
    assert not start(spec(), LINEAR).any()
    np.testing.assert_allclose(start(spec(start="mean"), LINEAR)[0], LINEAR.table.mean(0))
    np.testing.assert_array_equal(start(spec(start="red"), LINEAR), tokens_of(LINEAR, "red").numpy())
    np.testing.assert_allclose(start(spec(start="darkish"), LINEAR)[0], tokens_of(LINEAR, "darkish").mean(0))


def test_a_start_must_lie_in_the_box_of_its_scale():
    largest = float(of_word(LINEAR, "red").abs().max())
    for scale in ("absolute", "rms"):
        entry = largest / unit(LINEAR, scale)
        assert start(spec(start="red", scale=scale, box=1.01 * entry), LINEAR).any()
        with pytest.raises(ValueError, match=r"expected a start in the box of .* start from 'zero', or widen the box"):
            start(spec(start="red", scale=scale, box=0.99 * entry), LINEAR)


def test_words_are_whole_tokens_and_no_nouns_of_the_label_set():
    found = {*words(SPACE, LABELS)}
    assert {word for word in AFTER if len(word) > 2} <= found
    assert not found & {"circle", "square", "squares", "on", "of"}
    assert all(len(tokens_of(SPACE, word)) == 1 for word in found - {"ish"})
    assert {"circle", "square"} <= {*words(SPACE, ["star"])}


def test_a_word_without_tokens_is_refused():
    with pytest.raises(ValueError, match="expected a word, found '  ', which has no token"):
        of_word(SPACE, "  ")


def test_a_tokens_own_vector_is_in_the_table():
    norms = SPACE.table.norm(dim=1)
    for word in AFTER:
        tests = vector_tests(SPACE, numpy(of_word(SPACE, word)))
        assert tests.norm == pytest.approx(float(of_word(SPACE, word).norm()))
        assert tests.norm_percentile == pytest.approx(100 * float((norms <= tests.norm).double().mean()), abs=1)
        assert tests.cosine == pytest.approx(1, abs=1e-5)
        assert nearest(SPACE, numpy(of_word(SPACE, word)))[0] == word


def test_vectors_outside_of_the_table():
    width, rms = SPACE.table.shape[1], unit(SPACE, "rms")
    far, none = (vector_tests(SPACE, np.full((1, width), entry, np.float32)) for entry in (3 * rms, 0))
    assert (far.norm_percentile, none.norm_percentile) == (100, 0)
    assert far.entry_rms == pytest.approx(3, rel=1e-5)
    assert far.norm == pytest.approx(3 * rms * width**0.5, rel=1e-5)
    assert far.table_norm == pytest.approx(float(SPACE.table.norm(dim=1).median()))
    assert np.isnan(none.cosine)
    assert -1 <= far.cosine <= 1


def test_directions_not_lengths_say_what_is_nearest():
    near = 100 * of_word(LINEAR, "blue") + 0.01 * torch.ones(WIDTH)
    assert nearest(LINEAR, numpy(near), count=1) == ["blue"]
