"""Models whose every answer is known: what trained ones are held against."""

from stages.models.analytic.base import AnalyticModel
from stages.models.analytic.empirical import Empirical, Partial, TrainingSet
from stages.models.analytic.files import load, load_part, save
from stages.models.analytic.gaussian import Gaussian
from stages.models.analytic.molrg import MoLRG, random_molrg

__all__ = [
    "AnalyticModel",
    "Empirical",
    "Gaussian",
    "MoLRG",
    "Partial",
    "TrainingSet",
    "load",
    "load_part",
    "random_molrg",
    "save",
]
