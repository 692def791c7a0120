"""What a token does on each new prompt and seed; pictures that show its target are kept as failures."""

from typing import Any

from tuning.sage.confirming import Confirming, Suspect
from tuning.sage.outcomes import finite
from tuning.sage.tokens.transfer import Cell, Transfer

NEW = Cell("new", "new")


def shots(transfer: Transfer, confirming: Confirming) -> list[dict[str, Any]]:
    """Return a row a picture of a new prompt on a new seed.

    `natural` says that the plain prompt shows the target too, which no token can claim; `success` that the picture with
    the token shows it, drawn alone.
    """
    kept = []
    for row in transfer.rows(NEW):
        shot = transfer.shots[row]
        natural, shown = (bool(transfer.seen[arm].fails[row] == 1) for arm in ("plain", "found"))
        failure = confirming(suspect(transfer, int(row))) if shown and not natural else None
        said = {"prompt": shot.prompt.text, "label": shot.prompt.label, "seed": shot.seed}
        unconfirmed = shown and not natural and failure is None
        kept.append(
            said | {"natural": natural, "success": bool(failure), "failure": failure, "unconfirmed": unconfirmed}
        )
    return kept


def suspect(transfer: Transfer, row: int) -> Suspect:
    """Return one picture with the token behind its prompt."""
    shot, found, loss = transfer.shots[row], transfer.found, transfer.seen["found"].losses[row]
    return Suspect(
        search="token",
        prompt=shot.prompt.text,
        before=shot.prompt.text,
        label=shot.prompt.label,
        target=found.attempt.target,
        seed=shot.seed,
        evaluations=found.evaluations,
        objective=finite(loss),
        measured={"norm": transfer.tests.norm, "norm_percentile": transfer.tests.norm_percentile},
        vectors=found.vector,
    )
