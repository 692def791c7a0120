"""Settings for every test."""

import os

import hypothesis

# Cores are shared with other work, and the same examples are tried on every machine.
hypothesis.settings.register_profile("shared", deadline=None, derandomize=True)
hypothesis.settings.load_profile("shared")

# Ray's tests need neither a token in the home folder nor its usage reports.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
