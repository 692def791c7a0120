"""Settings of the search as a search of their own: every trial the same attempts, nothing searched twice."""

import pytest

from pipelines.config import load
from tests.tuning.sage.latents.test_trial import SPEC
from tuning.sage.latent import LatentSearchSpec
from tuning.sage.latents.hyper import HyperSpec, changed, read, run
from tuning.studies_cli import CONFIGS


def spec(output, **changes) -> HyperSpec:
    study = SPEC.model_dump(mode="json") | {"classes": ("star",), "seeds": 2, "controls": ()}
    space = {
        "step": {"kind": "log_uniform", "low": 0.05, "high": 0.3},
        "loss.kind": {"kind": "choice", "values": ["margin", "paper"]},
    }
    return HyperSpec.model_validate({"study": study, "space": space, "run": {"output": str(output)}} | changes)


def test_settings_are_changed_by_their_names():
    search = LatentSearchSpec()
    found = changed(search, {"step": 0.2, "gradient.last_steps": 2, "loss.kind": "paper"})
    assert (found.step, found.gradient.last_steps, found.loss.kind) == (0.2, 2, "paper")
    assert changed(search, {}) == search


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"stride": {"kind": "uniform", "low": 0, "high": 1}}}, "stride"),
        ({"space": {"step": {"kind": "uniform", "low": -1, "high": 1}}}, "greater than 0"),
        ({"space": {}}, "at least 1"),
    ],
    ids=str,
)
def test_settings_that_there_are_not_are_refused(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        spec(tmp_path, **change)


def test_the_budget_is_no_setting(tmp_path):
    asked = spec(tmp_path, space={"iterations": {"kind": "integers", "low": 1, "high": 9}})
    with pytest.raises(ValueError, match="expected settings that leave the budget alone"):
        asked.check()


def test_each_trial_is_kept_and_the_best_comes_first(tmp_path):
    asked = spec(tmp_path)
    for point in ({"step": 0.1, "loss.kind": "margin"}, {"step": 0.3, "loss.kind": "margin"}):
        metrics = list(run(asked, point))
        assert metrics[-1]["pictures"] == asked.task(point).pictures
        assert [m["found"] for m in metrics] == sorted(m["found"] for m in metrics)
        assert len(list(run(asked, point))) == 1  # nothing is left to search
    rows = read(asked)
    assert len(rows) == 2
    assert not any(row.stopped for row in rows)
    rates = [row.rate.value for row in sorted(rows, key=lambda row: -row.rate.value)]
    assert asked.page().tables["trials"]["found"].tolist()[0].startswith(f"{rates[0]:.2f}")


def test_the_packaged_search_of_settings_is_planned():
    asked = load(HyperSpec, "sage_tune_demo", [], CONFIGS)
    asked.check()
    assert any(line.startswith("range      step") for line in asked.plan())
