"""Training of diffusion models and of the embedded models."""
