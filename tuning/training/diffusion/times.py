"""Which time steps a minibatch is trained at, and what its rows then count."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from typing_extensions import override

REMEMBERED = 10
"""Losses that are kept of each time step."""
EXPLORED = 0.001
"""Share of the time steps that are drawn evenly, whatever their losses."""


class Times(ABC):
    """A distribution over the T time steps; every row's weight is 1 / (T p), so that the loss stays the uniform one."""

    def __init__(self, levels: int) -> None:
        self.levels = levels

    @abstractmethod
    def draw(self, count: int, random: torch.Generator) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
        """Return time steps and the weights of their losses."""

    def learn(self, time: Int64[Tensor, " b"], loss: Float[Tensor, " b"]) -> None:  # noqa: B027
        """Take note of unweighted losses."""

    def state(self) -> Mapping[str, Tensor]:
        """Return what later draws depend on."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Take over what `state` returned."""


class Uniform(Times):
    """Every time step as often."""

    @override
    def draw(self, count: int, random: torch.Generator) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.randint(self.levels, (count,), generator=random), torch.ones(count)


class LossAware(Times):
    """Time steps as often as the root mean square of their last ten losses: Nichol & Dhariwal 2021, section 3.3.

    As in the paper's code, evenly until every time step has been drawn ten times.
    """

    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.losses = torch.zeros(levels, REMEMBERED, dtype=torch.float64)
        self.drawn = torch.zeros(levels, dtype=torch.int64)

    def shares(self) -> Float[Tensor, " t"]:
        """Return the probability of each time step."""
        even = torch.full((self.levels,), 1 / self.levels, dtype=torch.float64)
        if int(self.drawn.min()) < REMEMBERED:
            return even
        sizes = (self.losses**2).mean(1).sqrt()
        return (1 - EXPLORED) * sizes / sizes.sum() + EXPLORED * even

    @override
    def draw(self, count: int, random: torch.Generator) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
        shares = self.shares()
        time = torch.multinomial(shares, count, replacement=True, generator=random)
        return time, (1 / (self.levels * shares[time])).float()

    @override
    def learn(self, time: Int64[Tensor, " b"], loss: Float[Tensor, " b"]) -> None:
        for t, value in zip(time.tolist(), loss.tolist(), strict=True):
            self.losses[t, self.drawn[t] % REMEMBERED] = value  # the oldest makes room
            self.drawn[t] += 1

    @override
    def state(self) -> Mapping[str, Tensor]:
        return {"losses": self.losses, "drawn": self.drawn}

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.losses.copy_(state["losses"])
        self.drawn.copy_(state["drawn"])
