"""Claims that rest on studies, and with those of pipelines the whole ledger."""

from pipelines import claims
from pipelines.claims.claim import Claim
from tuning.claims.adversarial import CLAIMS as ADVERSARIAL
from tuning.claims.sage import CLAIMS as SAGE

CLAIMS: dict[str, Claim] = claims.CLAIMS | {claim.name: claim for claim in (*SAGE, *ADVERSARIAL)}
