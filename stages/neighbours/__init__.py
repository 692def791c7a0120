"""Neighbours: the nearest references of a vector, exactly or by an index, and how often an index is right."""

from typing import Annotated, TypeAlias

from pydantic import Field

from stages.neighbours.engines import Engine, Exact, Flat, Hnsw, Ivf, IvfPq
from stages.neighbours.found import Found, Vectors
from stages.neighbours.index import Index
from stages.neighbours.references import InMemory, References
from stages.neighbours.search import search

AnyEngine: TypeAlias = Annotated[Exact | Flat | Ivf | IvfPq | Hnsw, Field(discriminator="kind")]

__all__ = [
    "AnyEngine",
    "Engine",
    "Exact",
    "Flat",
    "Found",
    "Hnsw",
    "InMemory",
    "Index",
    "Ivf",
    "IvfPq",
    "References",
    "Vectors",
    "search",
]
