"""Models whose every answer is known: what trained ones are held against."""

from stages.models.analytic.base import AnalyticModel
from stages.models.analytic.empirical import Empirical, Partial, merge
from stages.models.analytic.files import load, save
from stages.models.analytic.gaussian import Gaussian
from stages.models.analytic.molrg import MoLRG, random_molrg

__all__ = ["AnalyticModel", "Empirical", "Gaussian", "MoLRG", "Partial", "load", "merge", "random_molrg", "save"]
