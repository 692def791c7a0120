import math
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.models.language import LanguageModel, load_language_model
from stages.models.placement import Placement
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from tests.stages.models.tiny_language import clip_tokenizer, gpt2_tokenizer, random_network, written

CPU = Placement(torch.device("cpu"), torch.float32)
CLIP = clip_tokenizer(["star</w>", "red</w>", "blue</w>", "dark", "ish</w>"])
GPT2 = gpt2_tokenizer(["Ġstar", "Ġred", "Ġblue", "ish"])
AFTER_STAR = {"red</w>": 0.5, "blue</w>": 0.2, "dark": 0.2, ",</w>": 0.04, "8</w>": 0.02}
ENDS = written(
    CLIP,
    {"<|startoftext|>": {"a</w>": 0.9}, "a</w>": {"star</w>": 0.8}, "star</w>": AFTER_STAR, "dark": {"ish</w>": 0.75}},
)
BEGINNINGS = written(
    GPT2,
    {
        "<|endoftext|>": {"a": 0.9},
        "a": {"Ġstar": 0.6, "ish": 0.1},
        "Ġstar": {"Ġred": 0.5, "Ġblue": 0.2, "ish": 0.1, ",": 0.1},
        "Ġred": {"ish": 0.25, "Ġstar": 0.5},
    },
)


def ends():
    return LanguageModel(ENDS, CLIP, CPU)


def beginnings():
    return LanguageModel(BEGINNINGS, GPT2, CPU)


def as_dict(words):
    return {word.text: math.exp(word.log_p) for word in words}


def test_words_of_a_vocabulary_that_marks_ends():
    """Products over tokens; the comma and the digit are no words, and a token of letters alone is not one yet."""
    words = ends().next_words("a star", 50, least=1e-6)
    assert [word.text for word in words] == ["red", "blue", "darkish"]
    assert as_dict(words) == pytest.approx({"red": 0.5, "blue": 0.2, "darkish": 0.15}, rel=1e-4)


def test_words_of_a_vocabulary_that_marks_beginnings():
    """A word must also end, and 'a star' must not go on as 'starish', of which the chance was 0.1."""
    words = as_dict(beginnings().next_words("a star", 50, least=1e-6))
    assert words == pytest.approx({"red": 0.5 * 0.75 / 0.9, "redish": 0.5 * 0.25 / 0.9, "blue": 0.2 / 0.9}, rel=1e-4)


def test_the_log_probabilities_of_a_text():
    words = np.exp(ends().log_probabilities("a star darkish"))
    np.testing.assert_allclose(words, [0.9, 0.8, 0.15], rtol=1e-4)
    words = np.exp(beginnings().log_probabilities("a star redish"))
    # 'a' ends with probability 0.9, 'star' with 0.9, 'redish' with 1
    np.testing.assert_allclose(words, [0.9 * 0.9, 0.6 * 0.9 / 0.9, 0.5 * 0.25 / 0.9], rtol=1e-4)


def test_the_end_of_a_text():
    assert math.exp(ends().end("a star")) == pytest.approx(0.04, rel=1e-4)
    assert math.exp(beginnings().end("a star")) == pytest.approx(0.1 / 0.9, rel=1e-4)


def test_without_a_start_token_the_first_word_is_missing():
    model = ends()
    model.tokenizer = clip_tokenizer(["star</w>", "red</w>", "blue</w>", "dark", "ish</w>"])
    model.tokenizer.bos_token = None
    first, second = model.log_probabilities("a star")
    assert math.isnan(first)
    assert math.exp(second) == pytest.approx(0.8, rel=1e-4)


SMALL = {
    "ends": clip_tokenizer(["ab", "ab</w>", "ba</w>"], alphabet="ab"),
    "beginnings": gpt2_tokenizer(["Ġa", "Ġb", "Ġab", "ab", "ba"], alphabet="abĠ"),
}


@pytest.mark.parametrize("kind", SMALL)
class TestRandomNetworks:
    @pytest.fixture
    def model(self, kind):
        return LanguageModel(random_network(SMALL[kind]), SMALL[kind], CPU)

    @pytest.fixture
    def every(self, model):
        """Every word of up to three tokens after 'ab b', scored as part of a text."""
        strings = ["".join(letters) for length in range(1, 7) for letters in product("ab", repeat=length)]
        tokens = {text: len(model._encode(f"ab b {text}")) - len(model._encode("ab b")) for text in strings}
        return {text: model.log_probabilities(f"ab b {text}")[-1] for text in strings if tokens[text] <= 3}

    def test_the_most_probable_words_are_those_of_brute_force(self, model, every):
        best = sorted(every, key=lambda text: -every[text])
        for count in (1, 4, 11, len(every), 1000):
            words = model.next_words("ab b", count, tokens=3)
            assert [word.text for word in words] == best[:count]
            assert [word.log_p for word in words] == pytest.approx([every[text] for text in best[:count]], abs=1e-5)

    def test_the_least_probability_cuts(self, model, every):
        best = sorted(every, key=lambda text: -every[text])
        least = math.exp((every[best[8]] + every[best[9]]) / 2)
        assert [word.text for word in model.next_words("ab b", 1000, least=least, tokens=3)] == best[:9]

    def test_probabilities_do_not_exceed_one(self, model, every):
        total = sum(np.exp(list(every.values()))) + math.exp(model.end("ab b"))
        assert 0.5 < total < 1 + 1e-5

    def test_the_words_of_a_longer_text_begin_with_those_of_a_shorter(self, model):
        longer = model.log_probabilities("ab b ba aab")
        assert len(longer) == 4
        assert longer[:2] == pytest.approx(model.log_probabilities("ab b"), abs=1e-5)

    def test_a_word_that_the_model_has_no_room_for_is_not_offered(self, model):
        text = " ".join("a" * (model.limit - len(model._start)))
        assert model.fits(text)
        assert not model.fits(f"{text} a")
        assert all(len(model._encode(word.text)) == 1 for word in model.next_words(text, 100))


class TestRefusals:
    def test_a_word_that_the_tokenizer_cannot_express(self):
        for tokenizer in SMALL.values():
            model = LanguageModel(random_network(tokenizer), tokenizer, CPU)
            for text in ("a star", "b bc"):
                with pytest.raises(ValueError, match=r"that its tokenizer can express, found '(star|bc)' in '"):
                    model.next_words(text, 3)

    def test_a_text_that_is_too_long(self):
        with pytest.raises(ValueError, match="at most the 24 tokens that it reads, found 31"):
            ends().log_probabilities(" ".join(["star"] * 30))

    def test_no_text(self):
        with pytest.raises(ValueError, match="expected words that its tokenizer can express, found ' '"):
            ends().next_words(" ", 3)

    def test_a_vocabulary_that_marks_nothing(self):
        plain = Tokenizer(models.WordLevel({"a": 0, "star": 1, "?": 2}, unk_token="?"))  # noqa: S106
        plain.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="?", eos_token="?")  # noqa: S106
        with pytest.raises(ValueError, match="expected tokens that mark where words begin"):
            LanguageModel(random_network(tokenizer), tokenizer, CPU)


class TestLoading:
    @pytest.fixture
    def saved(self, tmp_path):
        CLIP.save_pretrained(tmp_path)
        ENDS.save_pretrained(tmp_path)
        return tmp_path

    @pytest.mark.parametrize("kind", ["ends", "beginnings"])
    def test_a_folder(self, kind, tmp_path):
        network, tokenizer, model = (ENDS, CLIP, ends()) if kind == "ends" else (BEGINNINGS, GPT2, beginnings())
        network.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        loaded = load_language_model(ModelSpec(model=str(tmp_path)))
        assert loaded.next_words("a star", 5) == model.next_words("a star", 5)
        assert len(fingerprint(str(tmp_path), "transformers")) == 32

    def refused(self, model, message):
        with pytest.raises(ValueError, match=message) as caught:
            load_language_model(ModelSpec(model=str(model)))
        assert "\n" not in str(caught.value)

    def test_a_folder_of_something_else(self, classifier_folder):
        self.refused(classifier_folder, "expected a causal language model of transformers .* but found: ")

    def test_weights_that_are_no_safetensors(self, saved):
        weights = saved / "model.safetensors"
        weights.rename(weights.with_suffix(".bin"))
        self.refused(saved, "but found: ")

    def test_weights_that_lack_some(self, saved):
        weights = load_file(saved / "model.safetensors")
        del weights["transformer.ln_f.weight"]
        save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
        self.refused(saved, "but found: no weights for transformer.ln_f.weight")

    def test_a_name_that_is_none(self):
        self.refused("gpt2", "neither zoo:NAME, nor a local folder, nor a hub id")
