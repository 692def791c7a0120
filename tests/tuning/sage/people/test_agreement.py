"""Votes, rates, and agreement against published examples and statsmodels."""

import numpy as np
import pytest
from statsmodels.stats import inter_rater

from pipelines.config import UserError
from stages.metrics import Bootstrap
from stages.randomness import rng
from tests.tuning.sage.people.made_up import made
from tuning.sage.failures import sha256
from tuning.sage.people import agreement
from tuning.sage.people.labelling import NOTHING, OTHER
from tuning.sage.targets import Distorted, Targeted

BOOTSTRAP = Bootstrap(resamples=200)
PSYCHIATRIC = """444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 144444
224445 333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"""
"""Fleiss 1971, Table 1: 30 patients, 6 psychiatrists each, 5 diagnoses."""
FOURTEEN = "0 0 0 0 14,0 2 6 4 2,0 0 3 5 6,0 3 9 2 0,2 2 8 1 1,7 7 0 0 0,3 2 6 3 0,2 5 3 2 2,6 5 2 1 0,0 2 2 3 7"
"""Wikipedia, Fleiss' kappa: 10 subjects, 14 raters, 5 categories."""
KRIPPENDORFF = {
    "0100000010 1110010000": 0.095,
    "aabbdcccedda babbbccceddd": 0.692,
    "123321412... 1233224125.3 .3332342251. 12332441251.": 0.743,
}
"""Krippendorff 2011, sections A to C: a word a rater, a letter a unit, missing ones dots."""


def counts(units) -> np.ndarray:
    names = sorted({*"".join(units)} - {"."})
    return np.array([[unit.count(name) for name in names] for unit in units])


def labels(**answers):
    """Raters' answers about failures 0, 1, ...: a word each, None where one has not answered."""
    pictures = [one.failure.sha256 for one in found(10)]
    return {
        rater: {picture: answer for picture, answer in zip(pictures, given, strict=False) if answer}
        for rater, given in answers.items()
    }


def found(count, **changes):
    return [made(number, **changes) for number in range(count)]


def failures(count, **changes):
    return [one.failure for one in found(count, **changes)]


class TestPublished:
    def test_kappa_of_the_psychiatrists(self):
        assert agreement.fleiss_kappa(counts(PSYCHIATRIC.split()), BOOTSTRAP).value == pytest.approx(0.430, abs=5e-4)

    def test_kappa_of_fourteen_raters(self):
        rows = np.array([row.split() for row in FOURTEEN.split(",")], int)
        assert agreement.fleiss_kappa(rows, BOOTSTRAP).value == pytest.approx(0.210, abs=5e-4)

    @pytest.mark.parametrize("raters", KRIPPENDORFF)
    def test_alpha(self, raters):
        units = ["".join(unit) for unit in zip(*raters.split(), strict=True)]
        alpha = agreement.krippendorff_alpha(counts(units), BOOTSTRAP)
        assert alpha.value == pytest.approx(KRIPPENDORFF[raters], abs=5e-4)
        assert alpha.n_missing == sum(len(unit.replace(".", "")) < 2 for unit in units)

    def test_kappa_of_statsmodels(self):
        rows = rng(0, "ratings").multinomial(5, [0.5, 0.3, 0.2], size=40)
        assert agreement.fleiss_kappa(rows, BOOTSTRAP).value == pytest.approx(inter_rater.fleiss_kappa(rows))


@pytest.mark.parametrize("measure", [agreement.fleiss_kappa, agreement.krippendorff_alpha])
class TestLaws:
    def test_perfect_agreement_is_one(self, measure):
        one = measure(np.array([[3, 0], [0, 3], [3, 0], [3, 0]]), BOOTSTRAP)
        assert one.value == 1
        assert np.isnan(one.low)
        assert np.isnan(one.high)

    def test_chance_is_zero(self, measure):
        rows = rng(0, "chance").multinomial(3, [0.2, 0.3, 0.5], size=4000)
        zero = measure(rows, BOOTSTRAP)
        assert zero.low < 0 < zero.high
        assert zero.high - zero.low < 0.1

    def test_one_answer_tells_nothing(self, measure):
        same = measure(np.array([[3, 0]] * 30), BOOTSTRAP)
        assert np.isnan(same.value)
        assert same.n == 30

    def test_without_pairs_there_is_no_value(self, measure):
        for rows in (np.zeros((0, 0), int), np.array([[1, 0], [0, 0]])):
            none = measure(rows, BOOTSTRAP)
            assert np.isnan(none.value)
            assert (none.n, none.n_missing) == (0, len(rows))

    def test_more_pictures_give_a_narrower_interval(self, measure):
        few, many = (measure(counts(PSYCHIATRIC.split() * times), BOOTSTRAP) for times in (1, 9))
        assert few.low < few.value < few.high
        assert many.high - many.low == pytest.approx((few.high - few.low) / 3, rel=0.3)


def test_kappa_leaves_out_what_not_all_have_rated():
    kappa = agreement.fleiss_kappa(np.array([[3, 0], [0, 3], [2, 0], [0, 0]]), BOOTSTRAP)
    assert (kappa.value, kappa.n, kappa.n_missing) == (1, 2, 2)


@pytest.mark.parametrize(
    ("votes", "said"), [([], None), ([True], 1), ([True, False], None), ([True, False, False], 0), ([True] * 3, 1)]
)
def test_majority(votes, said):
    assert agreement.majority(votes) == pytest.approx(np.nan if said is None else said, nan_ok=True)


def test_ssr_h_counts_searches_that_found_nothing_and_leaves_ties_out():
    said = labels(a=["fish", "star", "fish", "ring"], b=["moon", "star", "star", "ring"], c=[OTHER, "star"])
    rate = agreement.success_rate(failures(5), said, attempted=10)
    # confirmed, the star, a tie, confirmed by two, asked of none; then five searches that found nothing
    assert (rate.value, rate.n, rate.n_missing) == (2 / 8, 8, 2)


def test_raters_need_not_agree_on_what_it_is_instead():
    said = labels(a=["fish"], b=["moon"], c=["ring"])
    (failure,) = failures(1)
    assert agreement.confirmed_rate([failure], said).value == 1
    assert agreement.most_said(said, failure.sha256) is None


@pytest.mark.parametrize(
    ("target", "confirming"),
    [
        ({"kind": "untargeted"}, {"fish", OTHER, NOTHING}),
        (Targeted(target="fish"), {"fish"}),
        (Distorted(), {OTHER, NOTHING}),
    ],
)
def test_what_confirms_a_failure(target, confirming):
    (failure,) = failures(1, target=target)
    assert {one for one in ("star", "fish", OTHER, NOTHING) if agreement.confirms(failure, one)} == confirming


def test_controls_tell_how_well_raters_know_the_pictures():
    saved = found(3)
    right = {sha256(one.before): "star" for one in saved}
    wrong = right | {sha256(saved[0].before): "fish"}
    rate = agreement.control_rate(saved, {"a": right, "b": right, "c": wrong})
    assert (rate.value, rate.n) == (1, 3)
    assert agreement.control_rate(saved, {"c": wrong}).value == pytest.approx(2 / 3)


def test_failures_of_plain_seeds_are_no_success_of_a_search():
    saved = [*found(2), made(2, search="seed")]
    rows = {row.name: row.rate for row in agreement.summary(saved, labels(a=["fish", "star", "fish"]), 4)}
    assert rows["SSR(A): searches with a failure"].value == 2 / 4
    assert rows["SSR(H): searches with one that raters confirm"].value == 1 / 4
    assert rows["failures of plain seeds that raters confirm"].value == 1
    assert rows["controls that raters see as the prompt's class"].n_missing == 2


def test_without_the_number_of_searches_no_rate_of_them_is_given():
    assert not [row for row in agreement.summary(found(2), labels(a=["fish"]), None) if row.name.startswith("SSR")]


def test_fewer_searches_than_failures_are_refused():
    with pytest.raises(UserError, match="at least as many attempted searches as found failures, 3, found 2"):
        agreement.success_rate(failures(3), {}, attempted=2)
