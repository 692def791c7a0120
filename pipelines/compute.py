"""What one pool of actors gets."""

from pydantic import Field

from stages.base import Spec


class Compute(Spec):
    """What one pool of actors gets."""

    actors: int = Field(1, ge=1, le=10_000, description="Actors in the pool.")
    cpus: float = Field(1.0, gt=0, le=1024, description="Cores, and threads, of an actor without a GPU.")
    gpus: float = Field(0.0, ge=0, le=64, description="GPUs of each actor; fractions share one device.")


ONE_ACTOR = Compute()
