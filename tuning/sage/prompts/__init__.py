"""Searches over natural prompts: what a language model says next, and which of it a gradient chooses."""
