"""The exact search: equal to brute force in every item, whatever the number format and the shards."""

import numpy as np
import pytest
import torch

from stages.neighbours import Exact, InMemory
from stages.neighbours import scan as scanning
from stages.neighbours.found import Found
from stages.neighbours.scan import Queries, Scan, candidates, fastest
from stages.randomness import rng
from tests.stages.neighbours.make import brute, unit, write

CASES = [("cosine", "float32"), ("cosine", "bfloat16"), ("l2", "float32")]


def references(metric: str, count: int, dimension: int) -> np.ndarray:
    """Half of them lie close together, some are repeated: what makes a search hard."""
    vectors = unit(count, dimension)
    vectors[count // 2 :] = vectors[0] + 0.02 * vectors[count // 2 :]
    vectors[-5:] = vectors[-10:-5]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors + 3


def queries(metric: str, stored: np.ndarray, count: int) -> np.ndarray:
    """Copies, near-copies and strangers."""
    drawn = stored[rng(0, "queries").integers(0, len(stored), count)].astype(np.float32)
    drawn[count // 3 :] += 1e-3 * unit(count, stored.shape[1], "noise")[count // 3 :]
    drawn[2 * count // 3 :] = unit(count, stored.shape[1], "strangers")[2 * count // 3 :]
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True) if metric == "cosine" else drawn


def equal(found: Found, scores: np.ndarray, items: np.ndarray) -> None:
    np.testing.assert_array_equal(found.items, items)
    np.testing.assert_allclose(found.scores, scores, rtol=2.0**-23, atol=0)  # the last digit of float32


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("metric", "look"), CASES)
def test_equals_brute_force(metric, look, dtype, k):
    stored = references(metric, 2000, 48).astype(dtype)
    asked = queries(metric, stored, 2000)
    equal(Scan(InMemory(stored, metric), "cpu", look)(asked, k), *brute(asked, stored, k, metric))


@pytest.mark.parametrize(("metric", "look"), CASES)
def test_blocks_parts_and_formats_do_not_change_a_bit(metric, look, tmp_path, monkeypatch):
    stored = references(metric, 700, 20)
    asked = queries(metric, stored, 90)
    whole = Scan(InMemory(stored, metric), "cpu", "float32")(asked, 5)
    monkeypatch.setattr(scanning, "REFERENCES", 64)
    monkeypatch.setattr(scanning, "QUERIES", 13)
    for shard_rows in (33, 700):
        index = write(tmp_path / f"{shard_rows}", stored, metric, shard_rows)
        found = Scan(index, "cpu", look)(asked, 5)
        assert (found.items == whole.items).all()
        assert found.scores.tobytes() == whole.scores.tobytes()
    alone = [Scan(InMemory(stored, metric), "cpu", look)(asked[i : i + 1], 5) for i in range(9)]
    assert b"".join(one.scores.tobytes() for one in alone) == whole.scores[:9].tobytes()


def test_many_equal_references_give_the_lowest_item():
    stored = np.repeat(unit(3, 16), 500, axis=0)
    found = Exact().open(InMemory(stored, "cosine"), "cpu")(unit(3, 16), 2)
    assert found.items.tolist() == [[0, 1], [500, 501], [1000, 1001]]


def test_a_look_is_off_by_no_more_than_its_slack():
    stored, asked = unit(512, 512), unit(256, 512, "queries")
    scan = Scan(InMemory(stored, "cosine"), "cpu", "bfloat16")
    part = scan.references.parts[0]
    block, looked, bounds = next(scan._blocks(part)), Queries(asked, scan.dtype, scan.device), scan._bounds(part)
    exact = asked.astype(np.float64) @ stored.T.astype(np.float64)
    first = torch.mm(looked.rounded, block.vectors.to(scan.dtype).T).double().numpy()
    own = np.abs(first) * torch.finfo(scan.dtype).eps
    for products, slack, rounding in (
        (first, looked.first_slack(bounds), own),
        (block.products(looked.exact).double().numpy(), looked.slack(bounds), 0),
    ):
        off = np.abs(products - exact)
        assert (off <= slack[:, None] + rounding).all()
        assert off.max() > 0


def test_a_limit_leaves_out_what_cannot_be_among_the_best():
    products = torch.tensor([[0.9, 0.5, 0.89], [0.1, 0.2, 0.3]])
    slack = np.full(2, 0.01)
    rows, columns = candidates(products, np.array([-np.inf, 0.4]), slack, 1)
    assert (rows.tolist(), columns.tolist()) == ([0, 0], [0, 2])
    rows, columns = candidates(products, np.array([0.95, 0.4]), slack, 1)
    assert (len(rows), len(columns)) == (0, 0)


def test_the_number_format_is_one_of_two():
    assert fastest("cpu", 32) in (torch.float32, torch.bfloat16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="expected a CUDA device, found none"):
        Exact().open(InMemory(unit(3, 4), "cosine"), "cuda")
