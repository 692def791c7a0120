import math

import pytest
from pydantic import ValidationError

from stages.metrics import Estimate
from stages.metrics.estimate import widest

KNOWN = Estimate(value=0.89, low=0.87, high=0.91, n=960, method="Wilson 0.95")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (KNOWN, "0.890 [0.870, 0.910] (n=960)"),
        (KNOWN.model_copy(update={"n_missing": 4}), "0.890 [0.870, 0.910] (n=960, 4 missing)"),
        (Estimate(value=0.5, low=math.nan, high=math.nan, n=1, method="t"), "0.500 [?, ?] (n=1)"),
        (Estimate.missing(5, "t"), "no value (n=0, 5 missing)"),
    ],
)
def test_prints_itself_with_its_interval_and_what_it_rests_on(estimate, text):
    assert str(estimate) == text


def test_format_applies_to_its_three_numbers():
    assert f"{KNOWN:.0%}" == "89% [87%, 91%] (n=960)"


@pytest.mark.parametrize("estimate", [KNOWN, Estimate.missing(3, "Wilson 0.95")], ids=repr)
def test_survives_json(estimate):
    assert Estimate.model_validate_json(estimate.model_dump_json()) == estimate
    assert Estimate.model_validate_json(estimate.canonical()) == estimate


def test_missing_is_null_in_json_and_nan_in_memory():
    missing = Estimate.missing(3, "t")
    assert '"value":null' in missing.canonical()
    assert math.isnan(missing.value)
    assert missing == Estimate(value=float("nan"), low=float("nan"), high=float("nan"), n=0, n_missing=3, method="t")


def test_no_rows_have_no_value():
    with pytest.raises(ValidationError, match=r"no rows expects the value NaN, but found 0\.0"):
        Estimate(value=0.0, low=math.nan, high=math.nan, n=0, method="t")


def test_refuses_infinity():
    with pytest.raises(ValidationError, match="finite numbers or NaN"):
        Estimate(value=0.5, low=0.1, high=math.inf, n=3, method="t")


def _between(low, high):
    return Estimate(value=0.5, low=low, high=high, n=4, method="-")


def test_the_widest_interval():
    narrow, wide, none = _between(0.4, 0.6), _between(0.1, 0.6), _between(math.nan, math.nan)
    assert widest([none, narrow, wide]) is wide
    assert widest([none, narrow]) is narrow
    assert widest([none]) is none
