"""Ask a question from start to end: rows, answer, report, tracking."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.config import UserError
from pipelines.lease import held
from pipelines.masking import masked_tree
from pipelines.question import AnyQuestion
from pipelines.report import Page, write
from pipelines.rows import done
from pipelines.run import Tally
from pipelines.store import Store
from pipelines.sweep import Swept, Watch, sweep
from pipelines.tracking import Tracker


@dataclass(frozen=True)
class Asked:
    """What a question gave."""

    page: Page
    report: Path
    swept: Swept | None


def ask(question: AnyQuestion, watch: Watch) -> Asked:
    """Draw, measure, answer and report, as the only command that writes to the store; Ray is running."""
    with held(Store(question.spec.store)) as lease:
        lease.confirm()

        def watched(what: str, tally: Tally) -> None:
            lease.confirm()
            watch(what, tally)

        return report(question, sweep(question, watched), watched)


def report(question: AnyQuestion, swept: Swept | None, watch: Watch | None) -> Asked:
    """Answer from what the store holds, and write the page, its figures and its tables."""
    folder = Path(question.spec.folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_dump(masked_tree(question.spec.described()), sort_keys=False)
    (folder / "spec.yaml").write_text(settings, encoding="utf-8")
    page = question.page(swept, watch)
    return Asked(page, write(page, folder), swept)


def again(question: AnyQuestion) -> Asked:
    """Report from stored rows alone; raises `UserError` where there is none."""
    store = Store(question.spec.store)
    if not any(done(store, grid).any() for draw in question.draws for grid in draw.grids):
        raise UserError(f"report: expected samples in {store.uri}, found none of this question; run it first")
    return report(question, None, None)


def track(question: AnyQuestion, asked: Asked, tracker: Tracker) -> None:
    """Log the answer to MLflow."""
    for name, points in asked.page.curves.items():
        tracker.curve(name, points)
    tracker.metrics(asked.page.numbers)
    if swept := asked.swept:
        tracker.metrics(
            {
                "run/images": swept.drawn,
                "run/images_per_second": swept.rate,
                "run/failed": swept.failed,
                "run/seconds": swept.seconds,
                "run/seconds_to_first_batch": swept.first_row or float("nan"),
            }
        )
    tracker.lineage("samples", next(iter(asked.page.tables.values())), question.spec.store)
    tracker.page(asked.page, asked.report.parent)
