"""Training of the embedded models: `train(name)` makes what ships, `verify(name)` measures it again.

Import `tuning.training.zoo.train` for the work itself: this module stays light.
"""

PARTS: dict[str, tuple[str, ...]] = {
    "classifier": (),
    "judge": (),
    "clip": ("classifier",),
    "descriptor": ("classifier",),
    "vae": (),
    "latent-trunk": ("vae", "clip"),
    "text-to-image": ("latent-trunk",),
    "latent-learned": ("latent-trunk",),
    "text-to-image-lcm": ("text-to-image",),
    "upsampler": ("clip",),
    "pixel-trunk": ("clip",),
    "pixel-fixed": ("pixel-trunk", "upsampler"),
    "pixel-learned": ("pixel-trunk", "upsampler"),
    "glide-like": ("pixel-trunk", "upsampler"),
    "pixel-unet": (),
    "pixel-transformer": (),
    "scenes-style": (),
    "scenes-edges": (),
    "scenes-judge": (),
    "scenes-clip": ("scenes-style",),
    "scenes-vae": ("vae",),
    "scenes": ("scenes-vae", "scenes-clip", "text-to-image"),
    "scenes-lm": (),
}
"""What can be trained, each with the parts that it is built on."""


def lineage(name: str) -> tuple[str, ...]:
    """Return everything that is trained for `name`, in order, `name` last."""
    return tuple(dict.fromkeys((*(early for part in PARTS[name] for early in lineage(part)), name)))
