"""Which settings to try."""
