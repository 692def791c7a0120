"""Distillation of a text-to-image model into one that draws in a few steps: plain and adversarial."""
