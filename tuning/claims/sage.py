"""Claims of SAGE (arXiv:2306.00974): the findings of its abstract, each beside what chance or a plain seed does.

The paper's own numbers are of other models and of a judge that was not published; these are signs and differences.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.claims.claim import Claim, Measure, Range
from stages.metrics import Estimate, Proportion
from stages.metrics.difference import difference
from tuning.claims.subject import OfStudy, studied

if TYPE_CHECKING:
    from tuning.sage.failures import Failure
    from tuning.sage.latents import page as latent_page
    from tuning.sage.latents.study import LatentStudySpec
    from tuning.sage.prompts import page as prompt_page
    from tuning.sage.prompts.study import PromptStudySpec
    from tuning.sage.region.page import Around
    from tuning.sage.tokens.page import Answer
    from tuning.sage.tokens.study import TokenStudySpec

PAPER = "arXiv:2306.00974"
PROMPTS, LATENTS, TOKENS = "sage_prompt_demo", "claims_sage", "sage_token_demo"
RANDOM = ("random_vector", "random_word", "random_search")
"""Arms of a token that chance has chosen."""
NOTHING = Estimate.missing(0, "nothing to measure")
"""Of a study that has found no failure, or that leaves out what a claim rests on."""


def prompts(config: str, overrides: list[str]) -> OfStudy:
    """Return a search over prompts."""
    from tuning.sage.prompts.study import PromptStudySpec

    return studied(PromptStudySpec, config, overrides)


def latents(config: str, overrides: list[str]) -> OfStudy:
    """Return a search over latents."""
    from tuning.sage.latents.study import LatentStudySpec

    return studied(LatentStudySpec, config, overrides)


def tokens(config: str, overrides: list[str]) -> OfStudy:
    """Return a search for tokens."""
    from tuning.sage.tokens.study import TokenStudySpec

    return studied(TokenStudySpec, config, overrides)


def better_words(answers: "prompt_page.Answers") -> Estimate:
    """Return the success rate of searches over prompts less that of random completions, paired by search."""
    return answers.gain("random_completions") if "random_completions" in answers.found else NOTHING


def on_fresh_seeds(answers: "prompt_page.Answers") -> Estimate:
    """Return how much more often prompts that were found fail on new seeds than the plain ones they started from."""
    from tuning.sage.prompts.outcomes import fresh_gain

    return fresh_gain([one for one in answers.of("search") if one.success])


def better_latents(answers: "latent_page.Answers") -> Estimate:
    """Return the success rate of searches over latents less that of fresh seeds, paired by search."""
    return answers.gain("fresh_seeds") if "fresh_seeds" in answers.found else NOTHING


def likely(region: "Around") -> Estimate:
    """Return how likely a plain seed is to fail the prompt that fails most, by subset simulation."""
    return next((rare for _, _, rare in region.chances()), NOTHING)


def elsewhere(study: "LatentStudySpec") -> Estimate:
    """Return how much more often found latents fail with other classes' prompts than fresh seeds with the same."""
    from tuning.sage.latents.elsewhere_page import ElsewhereAnswers

    rows = study.abroad(study.elsewhere).done() if study.elsewhere else []
    return ElsewhereAnswers(rows).gain("fresh_seed")


def agreed(failures: "Sequence[Failure]") -> Estimate:
    """Return the share of failures in which members and judge all name the same class, with Wilson's interval."""
    named = [{said.rpartition(" ")[0] for said in failure.seen.values()} for failure in failures]
    return Proportion().of(np.array([float(len(names) == 1) for names in named], dtype=np.float64))


def ahead_of_chance(answer: "Answer") -> Estimate:
    """Return the success of a token on new prompts and seeds less that of the best thing that chance has chosen.

    Both draw the same prompts and seeds, which makes the interval wider than it need be.
    """
    chosen = [answer.of("success", arm) for arm in RANDOM if arm in answer.arms()]
    best = max(chosen, key=lambda one: one.value, default=NOTHING)
    return difference(best, answer.of("success", "found"))


def clip_spared(answer: "Answer") -> Estimate:
    """Return the change of the CLIP score by a token less that by the target's own word, 0 to 100 each."""
    if "target_word" not in answer.arms():
        return NOTHING
    return difference(answer.of("clip_change", "target_word"), answer.of("clip_change", "found"))


def least(estimates: "Sequence[Estimate]") -> Estimate:
    """Return the smallest of some estimates; a missing one comes first."""
    return min(estimates, key=lambda one: -math.inf if math.isnan(one.value) else one.value)


def over_prompts(statistic: "Callable[[prompt_page.Answers], Estimate]") -> Measure:
    """Return the statistic of what searches over prompts came to."""

    def measure(study: "PromptStudySpec") -> Estimate:
        from tuning.sage.prompts.page import read

        return statistic(read(study))

    return measure


def over_latents(statistic: "Callable[[latent_page.Answers], Estimate]") -> Measure:
    """Return the statistic of what searches over latents came to."""

    def measure(study: "LatentStudySpec") -> Estimate:
        from tuning.sage.latents.page import read

        return statistic(read(study))

    return measure


def over_region(statistic: "Callable[[Around], Estimate]") -> Measure:
    """Return the statistic of what lies around the failures found."""

    def measure(study: "LatentStudySpec") -> Estimate:
        from tuning.sage.region.page import around

        region = around(study.around(study.region)) if study.region else None
        return statistic(region) if region else NOTHING

    return measure


def over_failures(statistic: "Callable[[Sequence[Failure]], Estimate]") -> Measure:
    """Return the statistic of the failures found."""

    def measure(study: "LatentStudySpec") -> Estimate:
        return statistic([saved.failure for saved in study.searches().found()])

    return measure


def over_tokens(statistic: "Callable[[Answer], Estimate]") -> Measure:
    """Return the statistic of the token for which it is smallest: a claim must hold for every target."""

    def measure(study: "TokenStudySpec") -> Estimate:
        from tuning.sage.tokens.page import read

        return least([statistic(answer) for answer in read(study)])

    return measure


CLAIMS = (
    Claim(
        "sage/prompts-beyond-chance",
        "A variety of natural prompts give pictures that miss what they ask for, and a search finds them.",
        PAPER,
        PROMPTS,
        "share of searches that find a natural prompt whose pictures fail, less that of random completions by the "
        "language model with as many pictures",
        Range(low=0),
        over_prompts(better_words),
        prompts,
    ),
    Claim(
        "sage/prompts-on-fresh-seeds",
        "It is the prompts that fail, not the seeds that they were searched on.",
        PAPER,
        PROMPTS,
        "share of new seeds on which the prompts found fail, less that of the plain prompts on the same seeds",
        Range(low=0),
        over_prompts(on_fresh_seeds),
        prompts,
    ),
    Claim(
        "sage/latents-beyond-chance",
        "A search finds latents that fail and are no outliers.",
        PAPER,
        LATENTS,
        "share of searches that find a failing latent which passes the tests of N(0, I), less that of fresh seeds with "
        "as many pictures",
        Range(low=0),
        over_latents(better_latents),
        latents,
    ),
    Claim(
        "sage/latents-are-likely",
        "Such latents are likely enough to be drawn by chance.",
        PAPER,
        LATENTS,
        "probability under N(0, I) of failing the prompt that fails most, by subset simulation; once in 1000 draws",
        Range(low=1e-3),
        over_region(likely),
        latents,
    ),
    Claim(
        "sage/latents-not-isolated",
        "Failing latents are not isolated points.",
        PAPER,
        LATENTS,
        "how far a failure reaches in a random direction, in radians, the median; two seeds are 1.57 apart",
        Range(low=0.1),
        over_region(lambda region: region.estimate("radius, radians")),
        latents,
    ),
    Claim(
        "sage/latents-connected",
        "The regions in which latents fail are connected.",
        PAPER,
        LATENTS,
        "share of pairs of failures of one prompt that a path of failures connects, straight or bent",
        Range(low=0.5),
        over_region(lambda region: region.estimate("pairs connected")),
        latents,
    ),
    Claim(
        "sage/latents-distort-any-prompt",
        "Latents that are no outliers give distorted pictures whatever the prompt.",
        PAPER,
        LATENTS,
        "share of other classes' prompts with which the latents found fail, less that of fresh seeds with the same",
        Range(low=0),
        elsewhere,
        latents,
    ),
    Claim(
        "sage/latents-show-another-class",
        "Latents give natural pictures that have nothing to do with the prompt.",
        PAPER,
        LATENTS,
        "share of the failures found in which every member and the judge name one other class",
        Range(low=0.5),
        over_failures(agreed),
        latents,
    ),
    Claim(
        "sage/token-carries-over",
        "One token behind any prompt makes the model draw a target of choice.",
        PAPER,
        TOKENS,
        "share of new prompts and seeds that show the target, less that of the best random vector, word or search; of "
        "the target for which it is least",
        Range(low=0),
        over_tokens(ahead_of_chance),
        tokens,
    ),
    Claim(
        "sage/token-spares-clip-score",
        "It hardly changes the CLIP score with the original prompt.",
        PAPER,
        TOKENS,
        "change of the CLIP score (0 to 100) by the token less that by the target's own word, on new prompts and "
        "seeds; of the target for which it is least",
        Range(low=0),
        over_tokens(clip_spared),
        tokens,
    ),
)
