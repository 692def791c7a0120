# Everything sets itself up: a fresh machine needs git, Python 3.11 or newer, and PyPI.
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/
SETUP := .venv/.ready

.PHONY: setup demo test test-slow check audit sbom bench clean help

help:
	@echo "make demo       set up, then shake the embedded model: a table, a report, an MLflow run (minutes)"
	@echo "make test       set up, then the tests: fast ones, then Ray, then end to end"
	@echo "make test-slow  the tests that take minutes each"
	@echo "make check      ruff and mypy"
	@echo "make audit      known vulnerabilities of the locked packages, where osv.dev can be reached"
	@echo "make sbom       sbom.json: what is installed for use, in CycloneDX"
	@echo "make bench      the benchmarks of docs/benchmarks.md"

$(SETUP): uv.lock pyproject.toml
	@command -v $(UV) >/dev/null || (python3 -m venv .uv && .uv/bin/python -m pip install --quiet uv==$(UV_VERSION))
	$(UV) sync --frozen --compile-bytecode
	@touch $@

setup: $(SETUP)

demo: $(SETUP)
	$(RUN)seedquake robustness robustness_demo

test: $(SETUP)
	OMP_NUM_THREADS=1 $(RUN)pytest -n logical --dist loadfile
	$(RUN)pytest -n 2 --dist loadfile -m "ray and not slow and not gpu"
	$(RUN)pytest -m "e2e and not slow and not gpu"

test-slow: $(SETUP)
	$(RUN)pytest -m slow

check: $(SETUP)
	$(RUN)ruff format --check
	$(RUN)ruff check
	$(RUN)mypy

audit: $(SETUP)
	@.ci/audit $(UV)

sbom: $(SETUP)
	$(UV) export --preview-features sbom-export --frozen --no-dev --quiet --format cyclonedx1.5 --output-file sbom.json

bench: $(SETUP)
	$(RUN)python benchmarks/robustness.py

clean:
	rm -rf .venv .uv build dist
