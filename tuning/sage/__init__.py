"""SAGE: adversarial search for the failures of generators, Liu et al. 2023 (arXiv:2306.00974)."""
