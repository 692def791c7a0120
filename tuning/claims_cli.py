"""`seedquake claims`: measure what the papers say, and write the ledger."""

from pipelines.claims_cli import PageFile, Plan, Words, examine


def claims(words: Words = None, page: PageFile = None, plan: Plan = False) -> None:
    """Put published claims to the test and write the ledger: each with its estimate and verdict."""
    from tuning.claims import CLAIMS

    examine(CLAIMS, words, page, plan)
