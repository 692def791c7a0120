"""Loaders behind one seam: the only files that import diffusers, transformers, timm and open_clip."""
