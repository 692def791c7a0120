"""The loop over a scheduler: guidance, per-row noise. The schedulers are diffusers', behind `stages/models/`."""

from stages.sampling.spec import SamplerSpec, parse

__all__ = ["SamplerSpec", "parse"]
