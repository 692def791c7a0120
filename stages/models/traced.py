"""Draw rows and keep what their trajectories show."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stages.arrays import Latent
from stages.models.generator import Stepwise, step_noise, to_pictures
from stages.models.preprocess import Picture
from stages.sampling.loop import Moment
from stages.sampling.recording import Recording, Trace
from stages.sampling.spec import SamplerSpec
from stages.sampling.trajectory import Plane, Recorder, States


@torch.inference_mode()
def traced(
    generator: Stepwise,
    latents: tuple[Sequence[Latent], Sequence[Latent]],
    texts: tuple[Sequence[str], Sequence[int]],
    sampler: SamplerSpec,
    recording: Recording,
    plane: Plane | None = None,
) -> tuple[list[Picture | None], list[Trace]]:
    """Return the pictures of a batch, bit for bit those of `Generator.pictures`, and the traces of its rows.

    `latents` are the rows' own and their controls', `texts` their prompts and seeds. Rows and controls are drawn under
    the same step noise.
    """
    prompts, seeds = texts
    own, controls = (torch.from_numpy(np.stack(part)) for part in latents)
    watched = [row for row, seed in enumerate(seeds) if seed in recording.frames_of and recording.frames]
    beside = None
    if recording.control:
        beside = States()
        generator.clean(controls, prompts, sampler, [step_noise(seed) for seed in seeds], beside)
    recorder, noise = Recorder(recording, beside, plane, watched), [step_noise(seed) for seed in seeds]
    kept = States()

    def observe(moment: Moment) -> None:
        recorder(moment)
        if recording.states:
            kept(moment)

    clean = generator.clean(own, prompts, sampler, noise, observe)
    pictures = to_pictures(generator.finish(clean, prompts, sampler, noise))
    traces, strips = recorder.traces(), dict(zip(watched, _strips(generator, recorder.strips), strict=True))
    if recording.states:
        traces = [trace._replace(states=x) for trace, x in zip(traces, kept.rows(), strict=True)]
    return pictures, [trace._replace(strip=strips.get(row)) for row, trace in enumerate(traces)]


def _strips(generator: Stepwise, frames: list[Float[Tensor, "b c h w"]]) -> list[np.ndarray]:
    """Return each row's frames as pictures, 0 to 255; a frame that is not finite is black."""
    if not frames:
        return []
    decoded = torch.stack([generator.decode(frame).nan_to_num() for frame in frames], dim=1)
    strips: np.ndarray = (decoded.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return list(strips)
