"""The settings of a question about trajectories, what it draws, and what it draws again."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest

from pipelines.cli import check
from pipelines.plan import lines, plan
from pipelines.rows import done, others
from pipelines.save import SAMPLES, decode
from pipelines.store import Store
from pipelines.sweep import unmeasured
from pipelines.trajectory import strongest
from tests.pipelines.trajectories import NAMES, SHAPE, STEPS, apply, draw, gaussian, trajectory


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("arms=[]", "arms: .* at least 1 item"),
        ("arms.1.name=ddim", "arms: expected a name of its own for each, found 'ddim' twice"),
        ("arms.1.sampler.scheduler=ddim", "expected arms that differ, found 'ddim' and 'ddpm' alike"),
        ("arms.0.sampler.measurement={operator: {kind: box_inpainting}}", "arms, ddim: .* without measurement"),
        ("perturbations=[{kind: none}]", "found only the control"),
        ("perturbations=[{kind: uniform_mean_shift, shift: 0.4}]", r"of rms 0.4 .*, found none; add .* rms: \[0.4\]"),
        ("perturbations.1.rms=0.4", r"a random direction of rms 0.8 .*, found 0.4; add"),
        ("pilot.seeds=13", "pilot.seeds: expected at most the 12 of this question, found 13"),
        ("pilot.prompts=2", "pilot.prompts: expected at most the 1 of this question, found 2"),
        ("pilot.frames=1", "pilot.frames: .* greater than or equal to 2; found 1"),
        (
            "run.store=s3://bucket/store?region=us-east-1",
            "expected a store in a folder that every actor sees, .* set pilot=null",
        ),
    ],
)
def test_mistakes_are_one_sentence(override: str, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said) as caught:
        check(trajectory(tmp_path, override))
    assert "\n" not in str(caught.value)


def test_a_pilot_fits_into_memory(tmp_path: Path):
    with pytest.raises(ValueError, match="expected at most 1024 rows over all arms, found 1800"):
        trajectory(tmp_path, "seeds.count=300", "pilot.seeds=300")


def test_arms_of_a_model_are_drawn_together(tmp_path: Path):
    other = f"{{model: '{gaussian(tmp_path / 'other')}', sampler: {{scheduler: ddim, steps: 4, guidance: 1}}}}"
    question = trajectory(tmp_path)
    assert [len(part.grids) for part in question.draws] == [2]
    arms = [f"{{name: {a.name}, model: '{a.model}', sampler: {a.sampler.canonical()}}}" for a in question.spec.arms]
    more = trajectory(tmp_path, f"arms=[{', '.join([*arms, other])}]")
    assert [len(part.grids) for part in more.draws] == [2, 1]
    assert more.names == (*NAMES, "other ddim")


def test_the_pilot_is_of_the_control_and_the_strongest_of_each_family(tmp_path: Path):
    question = trajectory(tmp_path)
    assert [(p.kind, p.strength) for p in strongest(question.perturbations)] == [
        ("none", 0.0),
        ("uniform_mean_shift", 0.8),
        ("random_direction", 0.8),
    ]
    (pilot,) = question.pilots.values()
    assert len(pilot.rows["sample_id"]) == 2 * 2 * 3
    assert len(set(pilot.rows["seed"])) == 2


def test_more_seeds_and_weaker_shifts_leave_the_plane_and_the_recordings_as_they_were(tmp_path: Path):
    question = trajectory(tmp_path)
    more = trajectory(
        tmp_path,
        "seeds.count=20",
        "perturbations=[{kind: uniform_mean_shift, shift: [0.2, 0.4, 0.8]}, "
        "{kind: random_direction, rms: [0.2, 0.4, 0.8]}]",
        f"run.output={tmp_path / 'elsewhere'}",
    )
    stronger = trajectory(
        tmp_path,
        "perturbations=[{kind: uniform_mean_shift, shift: [0.4, 1.6]}, {kind: random_direction, rms: [0.4, 1.6]}]",
    )
    tables = [[m.table for m in q.draws[0].measures] for q in (question, more, stronger)]
    assert tables[0] == tables[1]
    assert tables[0][0] == tables[2][0]
    assert tables[0][1] != tables[2][1]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory):
    question = trajectory(tmp_path_factory.mktemp("drawn"))
    return question, draw(question)


def rows_of(question, table: str) -> dict[str, dict]:
    return {row["sample_id"]: row for row in Store(question.spec.store).dataset(table).to_table().to_pylist()}


def test_what_is_recorded_is_stored_beside_the_samples(drawn):
    question, batches = drawn
    distances, projections = question.draws[0].measures
    assert distances.columns == ("step_distance", "control_distance", "channel_z", "signal")
    assert projections.columns == ("step_distance", "projection")
    for measure in (distances, projections):
        stored = rows_of(question, measure.table)
        assert len(stored) == sum(map(len, question.grids))
        for batch in batches:
            for name in measure.columns:
                for sample, value in zip(batch["sample_id"], batch[name], strict=True):
                    np.testing.assert_allclose(stored[sample][name], value, rtol=1e-6)
    samples = pads.dataset(Path(question.spec.store) / SAMPLES).to_table()
    assert not {"step_distance", "projection", "states"} & set(samples.column_names)


def test_projections_are_those_of_the_states(drawn):
    """Against the states themselves, which the pilot keeps in its actor and nobody stores."""
    from stages.generate import Generate
    from stages.sampling.recording import Recording
    from stages.sampling.trajectory import load_plane

    question, _ = drawn
    (pilot,), (part,) = question.pilots.values(), question.draws
    step = part.drawing(Recording(states=True))
    whole = Generate(step.spec)(pilot.rows)
    plane, stored = load_plane(pilot.plane), rows_of(question, question.draws[0].measures[1].table)
    for sample, states in zip(whole["sample_id"], whole["states"], strict=True):
        assert states.shape == (STEPS + 1, np.prod(SHAPE))
        expected = (states - plane.origin.numpy()) @ plane.axes.numpy().T
        np.testing.assert_allclose(stored[sample]["projection"], expected, atol=1e-4)


def test_the_pilot_shows_its_strips_and_how_much_its_plane_holds(drawn):
    question, _ = drawn
    (pilot,) = question.pilots.values()
    assert pilot.fitted
    found = pilot.shown()
    assert set(found) == set(pilot.rows["sample_id"])
    for row in found.values():
        assert decode(row.film).shape == (4, 3 * 4, 3)
        assert 0 < row.explained <= 1


def test_nothing_is_left_to_do_and_a_plan_says_so(drawn):
    question, _ = drawn
    store, (part,) = Store(question.spec.store), question.draws
    assert all(not unmeasured(store, part, measure) for measure in part.measures)
    found = plan(question)
    assert (found.rows, found.stored, found.again, found.seconds) == (120, 120, 0, 0.0)


def test_rows_that_nobody_watched_are_drawn_again_without_their_samples(tmp_path: Path):
    question = trajectory(tmp_path, "pilot=null", "seeds.count=3")
    (part,), store = question.draws, Store(question.spec.store)
    plain = type(part)(**{**vars(part), "measures": ()})
    for grid in part.grids:
        apply(plain.generation, grid.rows(np.arange(len(grid))))
    before = rows_of(question, SAMPLES)
    found = plan(question)
    assert (found.stored, found.again) == (30, 30)
    assert "30 in the store were drawn without being watched" in "\n".join(lines(question, found))
    ids = unmeasured(store, part, part.measures[0])
    some = sorted(ids)[:7]
    left = [np.flatnonzero(np.unpackbits(others(store, grid, set(some)))[: len(grid)] == 0) for grid in part.grids]
    wanted = [grid.rows(numbers) for grid, numbers in zip(part.grids, left, strict=True)]
    assert sorted(np.concatenate([rows["sample_id"] for rows in wanted])) == some
    for rows in wanted:
        apply(part.redrawing(part.measures), rows)
    assert sorted(rows_of(question, part.measures[0].table)) == some
    assert rows_of(question, SAMPLES) == before
    assert unmeasured(store, part, part.measures[0]) == ids - set(some)
    assert all(np.bitwise_count(done(store, grid)).sum() == len(grid) for grid in part.grids)


def test_a_failed_row_is_recorded_as_missing(tmp_path: Path):
    shift = "perturbations=[{kind: arrangement_shift, count: 64, region: block}]"
    question = trajectory(tmp_path, "pilot=null", "seeds.count=2", shift)
    (first, _) = draw(question)
    assert [error is None for error in first["error"]] == [True, False] * 2
    assert [curve is None for curve in first["step_distance"]] == [False, True] * 2
    (part,) = question.draws
    assert not unmeasured(Store(question.spec.store), part, part.measures[0])
