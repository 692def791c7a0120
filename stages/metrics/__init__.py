"""Many rows to one estimate: update, merge, result; paired comparisons; curves."""

from typing import Annotated, TypeAlias

from pydantic import Field

from stages.metrics.base import Metric
from stages.metrics.bootstrap import Bootstrap
from stages.metrics.curve import BreakPoint, Curve, break_point, slope
from stages.metrics.detection import Pairs, Roc, auc, roc
from stages.metrics.estimate import Estimate
from stages.metrics.exceedance import exceedance
from stages.metrics.functional import functional
from stages.metrics.mean import Mean
from stages.metrics.multiplicity import holm
from stages.metrics.paired import PairedTest, mcnemar, paired_difference, proportion_difference
from stages.metrics.precision import PrecisionPoint, PrecisionTarget, score_at_precision
from stages.metrics.proportion import Proportion

AnyMetric: TypeAlias = Annotated[Proportion | Mean, Field(discriminator="kind")]

__all__ = [
    "AnyMetric",
    "Bootstrap",
    "BreakPoint",
    "Curve",
    "Estimate",
    "Mean",
    "Metric",
    "PairedTest",
    "Pairs",
    "PrecisionPoint",
    "PrecisionTarget",
    "Proportion",
    "Roc",
    "auc",
    "break_point",
    "exceedance",
    "functional",
    "holm",
    "mcnemar",
    "paired_difference",
    "proportion_difference",
    "roc",
    "score_at_precision",
    "slope",
]
