import pytest
from pydantic import ValidationError

from stages.sampling import SamplerSpec, parse

TABLE = [SamplerSpec(), SamplerSpec(scheduler="ddim", eta=0.5, steps=20), SamplerSpec(guidance=0, size_px=64)]


@pytest.mark.parametrize("spec", TABLE, ids=repr)
def test_survives_json(spec):
    assert parse(spec.canonical()) == spec


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": -5},
        {"steps": 1001},
        {"guidance": -0.1},
        {"guidance": float("nan")},
        {"eta": 1.5, "scheduler": "ddim"},
        {"eta": 0.5},
        {"scheduler": "dddim"},
        {"size_px": 0},
        {"stepz": 5},
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        SamplerSpec(**settings)
