"""The list of questions, and which of them a config asks."""

from pipelines.config import UserError, load, locate, read_tree
from pipelines.factorial import Factorial
from pipelines.memorization import Memorization
from pipelines.quality import Quality
from pipelines.question import AnyQuestion
from pipelines.reproducibility import Reproducibility
from pipelines.robustness import Robustness
from pipelines.trajectory import Trajectory

KINDS: tuple[type[AnyQuestion], ...] = (Robustness, Reproducibility, Memorization, Factorial, Trajectory, Quality)
QUESTIONS = {str(kind.settings.model_fields["question"].default): kind for kind in KINDS}


def resolved(config: str, overrides: list[str], expected: str | None = None) -> AnyQuestion:
    """Return the question that a config asks; raises `UserError` where it is not the expected one.

    A config that does not say which question it is, is of the expected one, or of robustness, which was the first.
    """
    said = read_tree(locate(config)).get("question", expected or "robustness")
    if not isinstance(said, str) or said not in QUESTIONS:
        raise UserError(f"config {config}: question: expected one of {', '.join(QUESTIONS)}, found {said!r}")
    if expected and said != expected:
        raise UserError(
            f"config {config}: expected settings of {expected}, found those of {said}; use seedquake {said}"
        )
    kind = QUESTIONS[said]
    return kind(load(kind.settings, config, overrides))
