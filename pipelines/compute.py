"""What one pool of actors gets."""

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from stages.base import Spec


class Reserved(Spec):
    """What each of several processes gets."""

    actors: int = Field(1, ge=1, le=10_000, description="Actors in the pool.")
    cpus: float = Field(1.0, gt=0, le=1024, description="Cores, and threads, of an actor without a GPU.")
    gpus: float = Field(0.0, ge=0, le=64, description="GPUs of each actor; fractions share one device.")


class Kind(Spec):
    """The actors of a pool that go to one kind of node."""

    accelerator: str = Field(
        pattern=r"^[\w.-]{1,80}$", description="What Ray calls it, such as A100: nodes have accelerator_type:A100."
    )
    actors: int = Field(1, ge=1, le=10_000, description="Actors on such nodes.")


class Compute(Reserved):
    """What one pool of actors gets."""

    kinds: tuple[Kind, ...] = Field((), description="Actors by kind of node, instead of `actors`; empty: on any node.")

    @property
    def places(self) -> list[str]:
        """Return the accelerator of each actor; empty where any node will do."""
        return [kind.accelerator for kind in self.kinds for _ in range(kind.actors)]

    @property
    def count(self) -> int:
        """Return how many actors there are."""
        return len(self.places) or self.actors

    def at_most(self, count: int) -> "Compute":
        """Return the same with no more actors than so many: of kinds, the first."""
        return self.of(min(self.actors, count), self.places[:count])

    def of(self, actors: int, places: Iterable[str] = ()) -> "Compute":
        """Return the same with so many actors, or one for each of these accelerators."""
        kinds = tuple(Kind(accelerator=name, actors=number) for name, number in Counter(places).items())
        return self.model_copy(update={"actors": actors, "kinds": kinds})


ONE_ACTOR = Compute()
