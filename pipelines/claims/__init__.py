"""The ledger of claims: what the papers say, measured again on the models at hand."""

from collections.abc import Mapping

from pipelines.claims.brittle import CLAIMS as BRITTLE
from pipelines.claims.claim import Claim
from pipelines.claims.glide import CLAIMS as GLIDE
from pipelines.config import UserError

CLAIMS: dict[str, Claim] = {claim.name: claim for claim in (*BRITTLE, *GLIDE)}
"""Those that rest on questions of pipelines; `tuning.claims` adds those that rest on studies."""


def chosen(names: list[str], claims: Mapping[str, Claim]) -> list[Claim]:
    """Return the claims of these names, or of these sources such as `brittle`; all without a name.

    Claims about published weights come by their full names only.
    """
    found = [
        c
        for c in claims.values()
        if c.name in names or (not c.published and (not names or c.name.partition("/")[0] in names))
    ]
    known = {part for c in claims.values() for part in (c.name, c.name.partition("/")[0])}
    if unknown := sorted(set(names) - known):
        raise UserError(f"claims: expected some of {', '.join(claims)}, found {', '.join(unknown)}")
    return found
