"""The settings of a question about quality, and its statistics: what they are of, and that cuts do not matter."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.cli import check
from pipelines.plan import lines, plan
from pipelines.quality import Place
from pipelines.quality_answers import SCORES, QualityAnswers
from pipelines.quality_collect import collect, halves, places_of
from pipelines.quality_published import CALLS, PUBLISHED
from pipelines.rows import vectors
from pipelines.store import Store
from stages.metrics.frechet import frechet_distance
from stages.metrics.quality.collected import Collected
from stages.metrics.quality.moments import merged
from tests.pipelines.qualities import draw, quality


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("models=[]", "models: .* at least 1 item"),
        ("models=[zoo:pixel-fixed, zoo:pixel-fixed]", "models: expected each once, .* found 'pixel-fixed' twice"),
        ("samplers.1.name=IDDPM", "samplers: expected each once, .* 'IDDPM' twice"),
        (
            "samplers.0.sampler.scheduler=pndm",
            "samplers, IDDPM: expected a scheduler that calls the network once a step",
        ),
        (
            "samplers.0.sampler={scheduler: ddim, measurement: {operator: {kind: box_inpainting}}}",
            "without measurement",
        ),
        ("nfe=[5, 5]", "nfe: expected each once"),
        ("nfe=[]", "nfe: .* at least 1 item"),
        ("groups=2", "groups: .* greater than or equal to 4; found 2"),
        ("models=[zoo:pixel-unet]", "epsilon_scaling expects a diffusion model that predicts epsilon, found EDM"),
        ("reference.source=no/such/folder", "source no/such/folder: expected a file or a folder, found none"),
        ("reference.source=index:no", "expected the folder of an index, found no build.json in no"),
    ],
)
def test_mistakes_are_one_sentence(override: str, said: str, tmp_path: Path):
    scaling = "samplers.1.sampler.epsilon_scaling={scale: 1.01}"
    with pytest.raises(ValueError, match=said) as caught:
        check(quality(tmp_path, override, *([scaling] if "pixel-unet" in override else [])))
    assert "\n" not in str(caught.value)


def test_every_cell_has_the_same_seeds_and_prompts(tmp_path: Path):
    question = quality(tmp_path)
    (grid,) = question.grids
    assert [s.steps for s in question.samplers] == [2, 4, 2, 4]
    assert len(grid) == 4 * 128
    assert question.set_of(Place(0, 1, 0)) == 2
    assert [question.set_of(place) for place in question.places] == list(range(4))


def test_where_it_runs_and_what_is_compared_share_the_samples(tmp_path: Path):
    one, other = quality(tmp_path), quality(tmp_path, "kept=50", "run.batch_size=32", "extractor.resize=bicubic")
    ids = [q.grids[0].rows(np.arange(5))["sample_id"].tolist() for q in (one, other)]
    assert ids[0] == ids[1]
    assert one.features.table != other.features.table
    assert one.reference.table != other.reference.table
    assert one.reference_id != quality(tmp_path, "reference.source=world:0-301").reference_id


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory):
    question = quality(tmp_path_factory.mktemp("drawn"))
    draw(question)
    return question


@pytest.fixture(scope="module")
def answers(drawn) -> QualityAnswers:
    return QualityAnswers(drawn)


def test_fid_is_that_of_all_features_in_one_place(drawn, answers):
    store, (grid,) = Store(drawn.spec.store), drawn.grids
    features = vectors(store, grid, drawn.features, "features").reshape(128, 4, -1)
    table = store.dataset(drawn.reference.table).to_table()
    real = np.stack(table["features"].to_numpy())
    for place, cell in answers.cells.items():
        found = cell.scores["FID"]
        expected = frechet_distance(features[:, drawn.set_of(place)], real)
        assert found.value == pytest.approx(expected, rel=1e-6)
        assert (found.n, found.n_missing) == (128, 0)
        assert found.low < found.value < found.high


def test_every_score_has_n_and_an_interval(answers):
    assert len(answers.cells) == 4
    for cell in answers.cells.values():
        assert list(cell.scores) == list(SCORES[:-1])
        assert all(estimate.n > 0 for estimate in cell.scores.values())
        for name in ("FID", "KID", "precision", "recall", "classifier score"):
            estimate = cell.scores[name]
            assert estimate.low <= estimate.value <= estimate.high
        assert "fewer pictures than 96 features in a part" in cell.scores["FID at infinity"].method
    first, second = answers.cells[Place(0, 0, 0)], answers.cells[Place(0, 1, 0)]
    assert first.to_sampler is None
    gap = second.scores["FID"].value - first.scores["FID"].value
    assert second.to_sampler.value == pytest.approx(gap, abs=1e-6)


def test_real_pictures_are_nearer_to_real_pictures(answers):
    floor = answers.floor["FID"]
    assert (floor.n, answers.n_real) == (128, 300)
    assert all(cell.scores["FID"].low > floor.high for cell in answers.cells.values())
    assert answers.floor["precision"].value > 0.5


@pytest.mark.parametrize("size", [7, 300])
def test_the_files_of_the_store_do_not_matter(drawn, size: int, tmp_path: Path):
    """The same rows in files of any cut and order, some of them stored twice."""
    store, (grid,) = Store(drawn.spec.store), drawn.grids
    rows = store.dataset(drawn.features.table).to_table()
    places, kept = places_of(store, grid, 0), (8, 100)
    expected = collect(store, drawn.features.table, drawn.features.columns, places, kept)
    other, order = Store(str(tmp_path)), np.random.default_rng(0).permutation(rows.num_rows)
    for start in range(0, rows.num_rows, size):
        other.write("cut", rows.take(pa.array(order[start : start + size + 1])))
    found = collect(other, "cut", drawn.features.columns, places, kept)
    for number, one in expected.items():
        same(found[number], one)


def same(found: Collected, expected: Collected) -> None:
    assert found.n == expected.n == 128
    np.testing.assert_array_equal(found.kept, expected.kept)
    np.testing.assert_allclose(merged(found.moments).outer, merged(expected.moments).outer, rtol=1e-9)


def test_equal_seeds_have_equal_ranks_under_every_sampler(drawn):
    (grid,) = drawn.grids
    places = places_of(Store(drawn.spec.store), grid, 10)
    assert sorted(np.unique(places.sets)) == [10, 11, 12, 13]
    rows = grid.rows(np.arange(8))  # two seeds under four samplers
    ranks = places.ranks[places.of(rows["sample_id"].tolist())]
    assert len({*ranks[:4]}) == len({*ranks[4:]}) == 1
    assert ranks[0] != ranks[4]
    assert places.of(["nothing"]).tolist() == [-1]


def test_halves_are_disjoint_and_of_the_wanted_size():
    ids = np.array([f"{n:032d}" for n in range(101)], dtype="S32")
    for wanted, sizes in ((20, [20, 51, 30]), (80, [50, 51, 0])):
        found = halves(ids, wanted)
        assert [int((found.sets == number).sum()) for number in range(3)] == sizes
        for number, size in enumerate(sizes):
            assert sorted(found.ranks[found.sets == number]) == list(range(size))


def test_a_plan_says_what_is_there(drawn):
    text = "\n".join(lines(drawn, plan(drawn)))
    assert "4 cells of 128 pictures" in text
    assert "reference world:0-300: 300 pictures in the store" in text


def test_a_row_that_failed_is_missing(tmp_path: Path):
    question = quality(tmp_path, "nfe=[2]", "seeds.count=130")
    (part,) = question.draws
    draw(question)
    table = Store(question.spec.store).dataset(question.features.table).to_table()
    (grid,) = part.grids
    lost = set(grid.rows(np.arange(4))["sample_id"].tolist())
    keep = [i not in lost for i in table["sample_id"].to_pylist()]
    store = Store(question.spec.store)
    for file in store.parts(question.features.table):
        store.fs.delete_file(file.path)
    store.write(question.features.table, table.filter(pa.array(keep)))
    for cell in QualityAnswers(question).cells.values():
        assert (cell.scores["FID"].n, cell.scores["FID"].n_missing) == (128, 2)


def test_the_published_tables_are_whole():
    for table in PUBLISHED.values():
        assert len(table) == 4
        assert all(len(values) == len(CALLS) for models in table.values() for values in models.values())
    assert PUBLISHED["cifar10"]["IDDPM"]["ADM-AT"][0] == 37.15
