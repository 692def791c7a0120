"""What a user would train with otherwise: the loop of diffusers' `train_unconditional.py`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Script:
    """The loop, made of the library's own parts in the script's order, at its defaults, for pictures of this side."""

    def __init__(self, module: nn.Module, batch: int, pictures: Path, side_px: int, device: str) -> None:
        from accelerate import Accelerator
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self.accelerator = Accelerator(cpu=device == "cpu")
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)
        optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        rates = get_scheduler("cosine", optimizer=optimiser, num_warmup_steps=500, num_training_steps=100_000)
        found = self.accelerator.prepare(module.train(), optimiser, loader(pictures, side_px, batch), rates)
        self.module, self.optimiser, self.data, self.rates = found
        self.average = EMAModel(
            module.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75, model_cls=type(module)
        )
        self.average.to(self.accelerator.device)
        self.batches = self._batches()

    def __call__(self, minibatches: int) -> float:
        """Train on so many more; return the seconds that one took."""
        start = time.monotonic()
        for _ in range(minibatches):
            self._step(next(self.batches))
        synchronise()
        return (time.monotonic() - start) / minibatches

    def _batches(self) -> Iterator[Tensor]:
        while True:
            for batch in self.data:
                yield batch["input"]

    def _step(self, clean: Tensor) -> float:
        noise = torch.randn(clean.shape, dtype=clean.dtype, device=clean.device)
        steps = torch.randint(0, 1000, (len(clean),), device=clean.device)
        noisy = self.scheduler.add_noise(clean, noise, steps)
        with self.accelerator.accumulate(self.module):
            loss = nn.functional.mse_loss(self.module(noisy, steps).sample.float(), noise.float())
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimiser.step()
            self.rates.step()
            self.optimiser.zero_grad()
        self.average.step(self.module.parameters())
        return loss.detach().item()


def loader(folder: Path, side_px: int, batch: int) -> Any:
    """Return the script's loader of a folder of pictures."""
    from datasets import disable_progress_bars, load_dataset
    from torchvision import transforms as t

    disable_progress_bars()
    augment = t.Compose(
        [
            t.Resize(side_px, interpolation=t.InterpolationMode.BILINEAR),
            t.RandomCrop(side_px),
            t.ToTensor(),
            t.Normalize([0.5], [0.5]),
        ]
    )
    rows = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(folder.parent / "cache"), split="train")
    rows.set_transform(lambda found: {"input": [augment(image.convert("RGB")) for image in found["image"]]})
    return torch.utils.data.DataLoader(rows, batch_size=batch, shuffle=True, drop_last=True)


def synchronise() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
