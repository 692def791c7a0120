"""The zoo's descriptor: a timm trunk, generalised-mean pooling and a linear map, as in SSCD."""

import json
from pathlib import Path
from typing import Any

import timm
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from stages.base import Spec


class GemSpec(Spec):
    """What a folder's config.json says: the network, and what it expects of its pictures."""

    architecture: str = Field(min_length=1, description="timm's name of the trunk.")
    dimension: int = Field(gt=0, description="Length of the vectors.")
    power: float = Field(3.0, gt=0, description="Exponent of the generalised mean; 1 is the mean.")
    input_size: tuple[int, int, int] = Field(description="Channels, height and width.")
    mean: tuple[float, float, float] = Field(description="Subtracted from pictures in [0, 1], by channel.")
    std: tuple[float, float, float] = Field(description="What the difference is divided by.")


class Gem(nn.Module):
    """Trunk, generalised mean, linear map, unit norm: the network of Pizzi et al. 2022 (arXiv:2202.10261)."""

    floor = 1e-6

    def __init__(self, spec: GemSpec) -> None:
        super().__init__()
        self.power = spec.power
        self.trunk: Any = timm.create_model(spec.architecture, num_classes=0, global_pool="")
        self.linear = nn.Linear(self.trunk.num_features, spec.dimension)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Return one unit vector per picture."""
        features = self.trunk(x).clamp(min=self.floor)
        pooled = (
            features.pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)
        )  # Radenovic et al. 2019 (arXiv:1711.02512), Eq. 3
        return normalize(self.linear(pooled), dim=1)


def load_gem(folder: Path) -> tuple[Gem, GemSpec]:
    """Return the network that a folder holds: config.json and model.safetensors."""
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}")
    spec = GemSpec.model_validate_json((folder / "config.json").read_text())
    network = Gem(spec)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network, spec


def save_gem(network: Gem, spec: GemSpec, folder: Path) -> None:
    """Write the folder that `load_gem` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(spec.model_dump(mode="json"), indent=2) + "\n")
