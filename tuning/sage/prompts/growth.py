"""Growth: which words may be appended to a prompt, and which prompts count as found."""

import math
from typing import TYPE_CHECKING

from tuning.sage.prompts.found import PromptSearchSpec
from tuning.sage.prompts.language import Words
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures, Shown

if TYPE_CHECKING:
    from stages.models.language import Word


class Growth:
    """The rules of a search, which its controls keep too."""

    def __init__(self, spec: PromptSearchSpec, pictures: PromptPictures, words: Words) -> None:
        self.spec, self.pictures, self.words = spec, pictures, words

    def check(self, attempt: PromptAttempt, places: int) -> None:
        """Refuse an attempt that cannot be judged, drawn, or begun with so many places behind the plain prompt."""
        prompt = self.spec.prompt(attempt.label)
        attempt.target.check(attempt.label, self.pictures.surrogate.labels)
        self.pictures.generator.check_prompt(prompt)
        self.pictures.space.check(prompt, places)
        if not self._offered(prompt, attempt.label):
            language = self.spec.language
            raise ValueError(
                f"prompt search: expected words that may follow {prompt!r}, found none left of the {language.top} most "
                f"probable, each of {language.least:g} or more; exclude fewer words, or change top or least"
            )

    def candidates(self, text: str, label: str, places: int) -> "list[Word]":
        """Return the words that may come next; none where there are not so many places left behind the text."""
        if self.pictures.space.room(text) < places or not self.words.model.fits(text):
            return []
        return self._offered(text, label)

    def accepts(self, shown: Shown) -> bool:
        """Return whether a prompt fails on the wanted share of seeds, and ends where the language model may end it."""
        return shown.share >= self.spec.share and (
            not self.spec.finished or self.words.end(shown.prompt) >= math.log(self.spec.finished)
        )

    def _offered(self, text: str, label: str) -> "list[Word]":
        room, tokens = self.pictures.space.room(text), self.pictures.space.tokens
        return [word for word in self.words.after(text, label) if 0 < len(tokens(word.text)) <= room]
