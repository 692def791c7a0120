"""Engines: ways to search references. Imports no heavy library."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from pydantic import Field
from typing_extensions import override

from stages.base import Spec
from stages.neighbours.found import Found, Vectors
from stages.neighbours.references import References

if TYPE_CHECKING:
    import faiss

Search: TypeAlias = Callable[[Vectors, int], Found]
"""Queries and k to what was found."""


class Engine(Spec):
    """A way to search references."""

    exact: ClassVar[bool]
    """Whether it always finds the nearest; one that does not understates the nearest score."""

    @abstractmethod
    def open(self, references: References, device: str = "auto") -> Search:
        """Return the search over these references, trained and built if need be."""


class Exact(Engine):
    """Every query against every reference, by blocks; on a GPU if there is one."""

    kind: Literal["exact"] = "exact"

    exact: ClassVar = True

    @override
    def open(self, references: References, device: str = "auto") -> Search:
        from stages.neighbours.scan import Scan

        return Scan(references, device)


class Trained(Engine):
    """An index of FAISS (Douze et al. 2024, arXiv:2401.08281), on the CPU, kept in a file beside the references.

    It proposes `rescored` x k references, which are scored again as stored: its scores are exact, its choice is not.
    """

    rescored: int = Field(4, ge=1, le=1000, description="References scored exactly, as a multiple of k.")

    when_searching: ClassVar[frozenset[str]] = frozenset({"rescored"})
    """The fields that its file does not depend on."""

    @abstractmethod
    def recipe(self, references: References, storage: str) -> str:
        """Return FAISS's text for the index; `storage` is its text for vectors in the references' own format."""

    def tune(self, index: "faiss.Index") -> None:
        """Set what is set when searching; some have nothing to set."""

    @override
    def open(self, references: References, device: str = "auto") -> Search:
        from stages.neighbours.trained import TrainedSearch

        return TrainedSearch(self, references)


class Flat(Trained):
    """Every query against every reference, by FAISS, in float32: an independent check of `exact`."""

    kind: Literal["flat"] = "flat"

    exact: ClassVar = True

    @override
    def recipe(self, references: References, storage: str) -> str:
        return "Flat"


class Lists(Trained):
    """An engine that sorts references into lists around centroids, and scans those nearest to a query."""

    lists: int | None = Field(
        None, ge=1, le=2**24, description="Number of lists; null: the power of 2 below 4 sqrt(n)."
    )
    probes: int = Field(16, ge=1, description="Lists scanned for a query.")

    exact: ClassVar = False
    when_searching: ClassVar = frozenset({"rescored", "probes"})

    def count(self, references: References) -> int:
        """Return the number of lists; FAISS's guidelines advise 4 to 16 sqrt(n)."""
        return self.lists or 2 ** round(math.log2(4 * math.sqrt(references.count)))

    @override
    def tune(self, index: "faiss.Index") -> None:
        import faiss

        faiss.ParameterSpace().set_index_parameter(index, "nprobe", self.probes)


class Ivf(Lists):
    """Inverted lists of whole vectors: Sivic and Zisserman 2003 (doi:10.1109/ICCV.2003.1238663)."""

    kind: Literal["ivf"] = "ivf"

    @override
    def recipe(self, references: References, storage: str) -> str:
        return f"IVF{self.count(references)},{storage}"


class IvfPq(Lists):
    """Inverted lists of product-quantised vectors: Jegou et al. 2011 (doi:10.1109/TPAMI.2010.57).

    Scanned by tables that lie in registers: Andre et al. 2015 (doi:10.14778/2856318.2856324).
    """

    kind: Literal["ivf_pq"] = "ivf_pq"
    rescored: int = Field(64, ge=1, le=1000, description="References scored exactly, as a multiple of k.")
    bytes: int | None = Field(
        None, ge=1, le=512, description="Of a stored vector: two numbers of 4 bits each; null: an eighth of its length."
    )

    @override
    def recipe(self, references: References, storage: str) -> str:
        numbers = 2 * (self.bytes or max(1, references.dimension // 8))
        if references.dimension % numbers:
            raise ValueError(
                f"ivf_pq: expected a dimension that {numbers} divides (two numbers a byte), "
                f"found {references.dimension}; change bytes"
            )
        return f"IVF{self.count(references)},PQ{numbers}x4fs"


class Hnsw(Trained):
    """A graph of near neighbours: Malkov and Yashunin 2018 (arXiv:1603.09320)."""

    kind: Literal["hnsw"] = "hnsw"
    links: int = Field(32, ge=4, le=256, description="Neighbours of a reference in the graph.")
    breadth: int = Field(64, ge=1, le=100_000, description="References kept in view while searching.")

    exact: ClassVar = False
    when_searching: ClassVar = frozenset({"rescored", "breadth"})

    @override
    def recipe(self, references: References, storage: str) -> str:
        return f"HNSW{self.links},{storage}"

    @override
    def tune(self, index: "faiss.Index") -> None:
        import faiss

        faiss.ParameterSpace().set_index_parameter(index, "efSearch", self.breadth)
