"""Great circles: walks between seed latents whose every latent is about as likely under N(0, I) as their ends.

A latent is its mean, the length of the rest, and the direction of the rest. Angles are between directions, in radians.
"""

import math
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

from stages.arrays import Latent

SeedLatents: TypeAlias = Float32[np.ndarray, "n c h w"]
"""Seed latents of some rows, unit variance."""

Direction: TypeAlias = Float64[np.ndarray, "c h w"]
"""Entries of sum 0 whose squares have the sum 1."""

PARALLEL = 1e-6
"""Radians below which two directions are one."""


class Polar(NamedTuple):
    """A latent is mean + radius * direction."""

    mean: float
    radius: float
    direction: Direction


def polar(x: Latent | Direction) -> Polar:
    """Return the parts of `x` [c h w]; raises ValueError where its entries are all equal or not finite."""
    entries = x.astype(np.float64)
    rest = entries - entries.mean()
    radius = float(np.linalg.norm(rest))
    if not (radius > 0 and math.isfinite(radius)):
        raise ValueError(
            f"great circle: expected a latent of finite entries that differ, found a norm of {radius:g} around the mean"
        )
    return Polar(float(entries.mean()), radius, rest / radius)


def angle(a: Latent, b: Latent) -> float:
    """Return the angle between two latents, 0 to pi, by Kahan's formula, which keeps small ones."""
    u, v = polar(a).direction, polar(b).direction
    return 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v)))


def chord(x: Latent, angles: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Return the Euclidean distance between `x` and the latents so far along a great circle; infinity stays."""
    finite = np.isfinite(angles)
    return np.where(finite, 2 * polar(x).radius * np.sin(np.where(finite, angles, 0.0) / 2), np.inf)


def tangent(x: Latent, towards: Latent | Direction) -> Direction:
    """Return the direction that leaves `x` towards another latent; raises ValueError where that is parallel to `x`."""
    here, there = polar(x).direction, polar(towards).direction
    rest = there - np.sum(there * here) * here
    length = float(np.linalg.norm(rest))
    if length < PARALLEL:
        raise ValueError(f"great circle: expected another latent to go to, found one at a sine of {length:.1e}")
    return rest / length


def walk(x: Latent, direction: Direction, by: float) -> Latent:
    """Return the latent at the angle `by` from `x` along a great circle, on which mean and norm stay."""
    at = polar(x)
    return np.asarray(at.mean + at.radius * (math.cos(by) * at.direction + math.sin(by) * direction), dtype=np.float32)


def slerp(a: Latent, b: Latent, fraction: float) -> Latent:
    """Return the latent at a fraction of the great circle from `a` to `b`: Shoemake 1985 (doi:10.1145/325334.325242).

    Mean and radius go straight from those of `a` to those of `b`. Raises ValueError for opposite latents, between which
    no way is shortest.
    """
    start, end, omega = polar(a), polar(b), angle(a, b)
    if math.pi - omega < PARALLEL:
        raise ValueError("great circle: expected latents that are not opposite, found an angle of pi")
    near, far = 1 - fraction, fraction
    mean, radius = near * start.mean + far * end.mean, near * start.radius + far * end.radius
    if omega > PARALLEL:
        near, far = math.sin(near * omega) / math.sin(omega), math.sin(far * omega) / math.sin(omega)
    return np.asarray(mean + radius * (near * start.direction + far * end.direction), dtype=np.float32)


def great_circle(a: Latent, b: Latent, points: int) -> SeedLatents:
    """Return the latents from `a` to `b`, with `points` evenly spaced ones between them."""
    inner = [slerp(a, b, fraction) for fraction in np.linspace(0, 1, points + 2)[1:-1]]
    return np.stack([a, *inner, b])


def respaced(string: SeedLatents) -> SeedLatents:
    """Return as many latents, evenly spaced along the great circles that link those of `string`; the ends stay.

    The reparametrisation of the string method: E, Ren and Vanden-Eijnden 2007 (doi:10.1063/1.2720838), section II.B.
    """
    along = np.cumsum([0.0, *(angle(a, b) for a, b in pairwise(string))])
    even = np.linspace(0, along[-1], len(string))[1:-1]
    before = np.clip(np.searchsorted(along, even, side="right") - 1, 0, len(string) - 2)
    inner = [
        slerp(string[i], string[i + 1], (at - along[i]) / (along[i + 1] - along[i]))
        for i, at in zip(before, even, strict=True)
    ]
    return np.stack([string[0], *inner, string[-1]])
