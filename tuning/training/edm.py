"""Training of pixel-space models with the preconditioning of EDM: Karras et al. 2022 (arXiv:2206.00364).

The network's raw output F is what diffusers' EDM schedulers call an epsilon prediction: they apply c_skip and c_out.
"""

from collections.abc import Callable

import torch
from diffusers import EDMEulerScheduler
from jaxtyping import Float
from torch import Tensor

from tuning.training.pixels import Batch, Labels, Network, PixelRecipe, as_function
from tuning.training.settings import EdmSpec
from tuning.training.zoo.loop import generator

SIGMA_DATA = 0.5


class EdmRecipe(PixelRecipe[EdmSpec]):
    """Denoising at random noise levels: Eq. 8 with the settings of Tab. 1, column "Ours"."""

    scheduler = EDMEulerScheduler(sigma_data=SIGMA_DATA)

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        random = generator(self.spec.budget.seed, "edm", step)
        rows = self.rows(step)
        clean = self.clean[rows]
        level = torch.randn(len(rows), generator=random)
        sigma = (self.spec.log_sigma_mean + self.spec.log_sigma_std * level).exp()
        noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=random)
        label = self._labels(rows, random)
        clean, noisy, sigma, label = (part.to(self.device) for part in (clean, noisy, sigma, label))
        return (weight(sigma) * (self._denoised(noisy, sigma, label, random) - clean) ** 2).mean()

    def _denoised(self, noisy: Batch, sigma: Tensor, label: Labels, random: torch.Generator) -> Batch:
        """Return the clean pictures that the network expects; dropout draws from the step's own seed too."""
        seed = int(torch.randint(2**63 - 1, (), generator=random))
        with self._seeded(seed):
            return precondition(as_function(self.module), label)(noisy, sigma)


def precondition(network: Network, label: Labels) -> Callable[[Batch, Tensor], Batch]:
    """Return the denoiser D around the raw network F: Eq. 7 with the scalings of Tab. 1; one sigma a row."""

    def denoise(x: Batch, sigma: Tensor) -> Batch:
        s = sigma.view(-1, 1, 1, 1)
        size = (s**2 + SIGMA_DATA**2).sqrt()
        skip, out, into = SIGMA_DATA**2 / size**2, s * SIGMA_DATA / size, 1 / size
        return skip * x + out * network(into * x, sigma.log() / 4, label).float()

    return denoise


def weight(sigma: Tensor) -> Float[Tensor, "b 1 1 1"]:
    """Return lambda(sigma), the weight of the squared error: the loss is then that of F at unit weight."""
    return ((sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2).view(-1, 1, 1, 1)
