import numpy as np
import pytest

from stages.models.descriptors.normalisation import ScoreNormalisation
from stages.randomness import rng


def vectors(seed, count, dimension=16):
    x = rng(seed, "vectors").normal(size=(count, dimension))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


QUERIES, REFERENCES, BACKGROUND = vectors(0, 7), vectors(1, 11), vectors(2, 30)


@pytest.mark.parametrize("text", ["1.0[0,2]", "0.5[1,4]", "2.0[3,3]", "0.0[0,0]"])
def test_the_longer_inner_product_is_the_formula(text):
    normalisation = ScoreNormalisation.parse(text)
    found = normalisation.queries(QUERIES, BACKGROUND) @ normalisation.references(REFERENCES).T
    for query, row in zip(QUERIES.astype(np.float64), found, strict=True):
        background = sorted((query @ b for b in BACKGROUND), reverse=True)
        bias = normalisation.weight * np.mean(background[normalisation.first : normalisation.last + 1])
        np.testing.assert_allclose(row, [query @ r - bias for r in REFERENCES], atol=1e-6)


def test_it_keeps_the_order_of_a_querys_references():
    normalisation = ScoreNormalisation.parse("1[0,2]")
    found = normalisation.queries(QUERIES, BACKGROUND) @ normalisation.references(REFERENCES).T
    np.testing.assert_array_equal(found.argsort(axis=1), (QUERIES @ REFERENCES.T).argsort(axis=1))


def test_many_queries_are_as_a_few():
    many = vectors(5, 2500)
    normalisation = ScoreNormalisation()
    parts = np.concatenate([normalisation.bias(part, BACKGROUND) for part in np.array_split(many, 9)])
    np.testing.assert_allclose(normalisation.bias(many, BACKGROUND), parts, atol=1e-6)
    assert normalisation.queries(many[:0], BACKGROUND).shape == (0, 17)


def test_it_is_written_as_it_is_read():
    assert ScoreNormalisation.parse("1.0[0,2]") == ScoreNormalisation() == ScoreNormalisation.parse(" 1 [0, 2]")
    assert str(ScoreNormalisation(weight=0.5, first=1, last=4)) == "0.5[1,4]"


@pytest.mark.parametrize("text", ["1.0", "1.0[2]", "-1[0,2]", "1.0[0,2", "1.0[2,0]"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="score normalisation"):
        ScoreNormalisation.parse(text)


def test_a_small_background_is_refused():
    with pytest.raises(ValueError, match=r"1.0\[0,2\] expects a background of more than 2 vectors, but found 2"):
        ScoreNormalisation().bias(QUERIES, BACKGROUND[:2])
