"""Published FIDs: "Improved Diffusion-based Generative Model with Better Adversarial Robustness", arXiv:2502.17099.

50,000 pictures against the whole training set, features of TensorFlow's Inception of 2015.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

Table: TypeAlias = Mapping[str, Mapping[str, tuple[float, ...]]]
"""By sampler and model, a FID for each number of calls."""

DataSet: TypeAlias = Literal["cifar10", "imagenet64"]
CALLS = (5, 8, 10, 20, 50)
NAMES: Mapping[DataSet, str] = {"cifar10": "CIFAR-10 at 32 x 32", "imagenet64": "ImageNet at 64 x 64"}

CIFAR10: Table = {
    "IDDPM": {
        "ADM": (37.99, 26.75, 22.62, 10.52, 4.55),
        "ADM fine-tuned": (36.91, 26.06, 21.94, 10.58, 4.34),
        "ADM-IP": (47.57, 26.91, 20.09, 7.81, 3.42),
        "ADM-AT": (37.15, 23.59, 15.88, 6.60, 3.34),
    },
    "DDIM": {
        "ADM": (34.28, 14.34, 11.66, 7.00, 4.68),
        "ADM fine-tuned": (29.30, 15.08, 12.06, 6.80, 4.15),
        "ADM-IP": (43.15, 15.72, 10.47, 4.58, 4.89),
        "ADM-AT": (26.38, 12.98, 9.30, 4.40, 3.07),
    },
    "ES": {
        "ADM": (82.18, 29.28, 17.73, 5.11, 2.70),
        "ADM fine-tuned": (63.46, 24.80, 17.03, 5.19, 2.52),
        "ADM-IP": (91.10, 31.44, 18.72, 5.19, 2.89),
        "ADM-AT": (41.07, 21.62, 14.68, 4.36, 2.48),
    },
    "DPM-Solver++": {
        "ADM": (23.95, 8.00, 5.46, 3.46, 3.14),
        "ADM fine-tuned": (22.98, 7.61, 5.29, 3.41, 3.12),
        "ADM-IP": (43.83, 6.70, 6.80, 9.78, 10.91),
        "ADM-AT": (18.40, 5.84, 4.81, 3.28, 3.01),
    },
}
IMAGENET64: Table = {
    "IDDPM": {
        "ADM": (76.92, 33.74, 27.63, 12.85, 5.30),
        "ADM fine-tuned": (78.87, 33.99, 27.82, 12.80, 5.26),
        "ADM-IP": (67.12, 29.96, 22.60, 8.66, 3.83),
        "ADM-AT": (45.65, 23.79, 19.18, 8.28, 4.01),
    },
    "DDIM": {
        "ADM": (60.07, 20.10, 14.97, 8.41, 5.65),
        "ADM fine-tuned": (60.32, 20.26, 15.04, 8.32, 5.48),
        "ADM-IP": (76.51, 26.25, 18.05, 8.40, 6.94),
        "ADM-AT": (43.04, 16.08, 12.15, 6.20, 4.67),
    },
    "ES": {
        "ADM": (71.31, 28.97, 21.10, 8.23, 3.76),
        "ADM fine-tuned": (72.30, 29.24, 21.58, 8.25, 3.64),
        "ADM-IP": (88.37, 33.91, 23.32, 7.80, 3.54),
        "ADM-AT": (43.95, 19.57, 14.12, 6.16, 3.45),
    },
    "DPM-Solver++": {
        "ADM": (27.72, 10.06, 7.21, 4.69, 4.24),
        "ADM fine-tuned": (27.82, 9.97, 7.22, 4.64, 4.15),
        "ADM-IP": (32.43, 9.94, 8.87, 9.16, 9.68),
        "ADM-AT": (17.36, 6.55, 5.78, 4.56, 4.34),
    },
}
PUBLISHED: Mapping[DataSet, Table] = {"cifar10": CIFAR10, "imagenet64": IMAGENET64}
