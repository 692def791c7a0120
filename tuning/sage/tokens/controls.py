"""Controls of a token: what other vectors do behind the same prompts, and what chance finds with as many pictures."""

from collections.abc import Sequence

import numpy as np
import torch

from stages.randomness import rng
from stages.sampling.prompts import Embeddings
from tuning.sage.prompts.pictures import Vectors
from tuning.sage.token import TokenSearch
from tuning.sage.tokens.found import Shot, TokenControl, TokenFound, shots_of
from tuning.sage.tokens.vectors import of_word, tokens_of, words


class TokenControls:
    """What stands behind the prompts of a search's pictures instead of what it has found."""

    def __init__(self, search: TokenSearch) -> None:
        self.search, self.spec, self.pictures = search, search.spec, search.pictures
        self.evaluations = 0
        """Pictures that random search has drawn."""

    def __call__(self, control: TokenControl, found: TokenFound, shots: Sequence[Shot]) -> Embeddings:
        """Return vectors [b n width], those of each picture.

        random_vector: of the norm found, in a direction of its own for each picture. random_word: a word of its own for
        each. target_word: all tokens of what the target is called, up to a comma. random_search: one vector for all,
        the best of as many draws from the box as the search's pictures pay for.
        """
        if control == "random_vector":
            return self._random_vectors(found, shots)
        if control == "random_word":
            return self._random_words(shots)
        if control == "target_word":
            return tokens_of(self.pictures.space, found.attempt.word or "").expand(len(shots), -1, -1)
        return max(self._draws(found), key=lambda draw: draw[0])[1].expand(len(shots), -1, -1)

    def of(self, found: TokenFound) -> list[TokenControl]:
        """Return the controls of a search: that of the target's word is none where the target names no class."""
        return [one for one in self.spec.controls if one != "target_word" or found.attempt.aim is not None]

    def _random_vectors(self, found: TokenFound, shots: Sequence[Shot]) -> Embeddings:
        norm, width = np.linalg.norm(found.vector), found.vector.shape[1]
        drawn = np.stack([rng(s.seed, "random vector", s.prompt.text).standard_normal(width) for s in shots])
        scaled = drawn * (norm / np.linalg.norm(drawn, axis=1, keepdims=True))
        return torch.from_numpy(scaled.astype(np.float32))[:, None]

    def _random_words(self, shots: Sequence[Shot]) -> Embeddings:
        known = self.spec.words or words(self.pictures.space, self.pictures.surrogate.labels)
        drawn = [known[rng(s.seed, "random word", s.prompt.text).integers(len(known))] for s in shots]
        return torch.stack([of_word(self.pictures.space, word) for word in drawn])[:, None]

    def _draws(self, found: TokenFound) -> list[tuple[float, Vectors]]:
        """Return as many vectors as the search's pictures pay for, each with its mean loss on all train pictures."""
        trained = shots_of(found.attempt.trained_on(self.spec.train), self.spec.train.seeds)
        box, drawn = self.search.box, []
        for number in range(found.evaluations // len(trained)):
            entries = rng(self.spec.order_seed, "random token", number).uniform(-box, box, found.vector.shape)
            vector = torch.from_numpy(entries.astype(np.float32))
            seen = self.pictures.see(found.attempt.target, trained, vector.expand(len(trained), 1, -1))
            self.evaluations += len(trained)
            drawn.append((float(np.nan_to_num(seen.losses.mean(), nan=-np.inf)), vector))
        return drawn
