import math

import pytest
from pydantic import ValidationError

from stages.models.spec import ModelSpec
from stages.models.zoo.sentences import PLURALS
from tests.stages.models.tiny_language import written
from tests.tuning.sage.models import LABELS
from tests.tuning.sage.prompt_models import CANDIDATES, TABLE, TOKENIZER, words
from tuning.sage.prompts.language import LanguageSpec, forms, load_words

PLAIN = "a photo of a circle"


def texts(candidates):
    return [word.text for word in candidates]


def test_candidates_leave_out_negations_and_every_class():
    found = words().after(PLAIN, "circle")
    assert set(texts(found)) == CANDIDATES
    assert [word.log_p for word in found] == sorted((word.log_p for word in found), reverse=True)
    assert math.exp(found[0].log_p) == pytest.approx(0.2, rel=1e-4)


def test_other_classes_are_candidates_where_they_are_allowed():
    assert set(texts(words(allow_other_classes=True).after(PLAIN, "circle"))) == CANDIDATES | {"square", "squares"}


def test_the_exclusion_is_a_setting():
    assert "not" in texts(words(exclude=()).after(PLAIN, "circle"))
    assert texts(words(exclude=("Red", "on")).after(PLAIN, "circle"))[0] == "blue"


def test_top_counts_before_exclusion():
    assert len(words(top=3).after(PLAIN, "circle")) == 3
    assert len(words(top=3, exclude=("red",)).after(PLAIN, "circle")) == 2


def test_words_below_the_least_probability_are_no_candidates():
    assert set(texts(words(least=0.12).after(PLAIN, "circle"))) == {"red", "blue"}


def test_words_of_several_tokens_are_as_long_as_they_may_be():
    assert "darkish" not in texts(words(tokens=1).after(PLAIN, "circle"))


def test_naturalness():
    found = words().naturalness("a photo of a circle darkish")
    expected = [1.0, 0.5, 1.0, 1.0, 0.25, 0.09]
    assert found.words == 6
    assert found.per_word == pytest.approx(sum(map(math.log, expected)) / 6, abs=1e-4)
    assert math.exp(found.end) == pytest.approx(0.1, rel=1e-3)


def test_the_forms_of_a_class():
    for one, many in PLURALS.items():
        assert {one, many} <= {*forms(one)}
    assert {*forms("golden retriever")} == {"retriever", "retrievers"}
    assert {*forms("Tabby, tabby cat")} == {"tabby", "tabbys", "tabbies", "cat", "cats"}


def test_loading(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    written(TOKENIZER, TABLE).save_pretrained(tmp_path)
    spec = LanguageSpec(model=str(tmp_path))
    loaded = load_words(spec, LABELS, ModelSpec(model="-"))
    assert loaded.after(PLAIN, "circle") == words().after(PLAIN, "circle")
    assert len(spec.weights()) == 32


def test_settings_without_meaning_are_refused():
    for settings in ({"top": 0}, {"least": 1.0}, {"tokens": 0}, {"model": ""}):
        with pytest.raises(ValidationError):
            LanguageSpec(**settings)
