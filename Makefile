# The calls that a person needs. Each sets up what it uses: `make demo` in a fresh clone is enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-slurm soak lint pretrain clean

# Any Python starts the installer, which looks for the 3.11 or 3.12 that .venv is made with (PYTHON=… names one).
find_python = $(firstword $(foreach p,$(PYTHON) python3.11 python3.12 python3 python,\
	$(shell $(p) -c 'print("$(p)")' 2>/dev/null)))

help:  ## show this list
	@echo "PivotRL: improve an agent from the turns of its SFT trajectories that still carry a signal."
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-18s%s\n", $$1, $$2}'
	@echo
	@echo "Start with 'make demo'. Needs Linux, Python 3.11 or 3.12 and 6 GB of disk; no GPU."
	@echo "PYTHON=/path/to/python3.11 picks the Python. After the install: .venv/bin/pivot --help"

install:  ## make .venv with the pinned CPU stack (again when the lock changed; instant otherwise)
	@python='$(find_python)'; \
	if [ -z "$$python" ]; then echo "error: no Python found; install Python 3.11 or 3.12, or set PYTHON=…" >&2; exit 2; fi; \
	"$$python" requirements/install.py

demo: install  ## the whole loop on a laptop CPU: mine, train, evaluate, report (runs/demo)
	@.venv/bin/pivot demo

test: install  ## the test suite, 35 to 40 minutes on two cores
	@.venv/bin/python -m pytest

test-slow: install  ## the long proofs that `make test` runs a short form of: 30 kills, 20,000 hostile inputs
	@.venv/bin/python -m pytest -m slow

test-slurm: install  ## every fault on a real Slurm on this machine (needs root)
	@.venv/bin/python -m pytest tests/system/slurm -m ''

soak: install  ## an hour and a half: a training run that is stopped a hundred times at random moments and loses nothing
	@SOAK_TABLE=runs/soak.md .venv/bin/python -m pytest -m slow tests/system/test_soak.py

lint: install  ## ruff and mypy
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

pretrain: install  ## slow: make the tiny checkpoint anew and compare it with the committed one
	@.venv/bin/pivot world init runs/pretrain/init
	@.venv/bin/pivot sft --config pretrain
	@.venv/bin/pivot world pack runs/pretrain/hf --compare pivot/world/tiny-moe

clean:  ## remove .venv, runs and caches
	rm -rf .venv runs outputs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
