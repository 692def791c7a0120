"""Searches over the seeds of a model: their controls, their trials on Ray Tune, their study and its page."""
