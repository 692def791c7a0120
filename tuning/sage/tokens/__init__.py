"""Searches for one token behind any prompt: on some prompts and seeds, tried on others."""
