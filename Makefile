# Two commands from a bare checkout: `make demo` and `make test`. Each sets up .venv itself, from the package index.
# `make locked` before them takes the versions of uv.lock instead.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
GPU_PYTHON ?= $(BIN)/python
GPU_DEVICE ?= cuda

.PHONY: demo test test-unit lint types contracts check coverage mutants docs results gpu-proof dist locked lock clean

demo: .venv/.installed-run
	$(BIN)/murmur demo

# Two processes of one torch thread each: on two cores, two pools of threads slow each other down tenfold.
test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-unit: .venv/.installed-dev
	$(BIN)/pytest -m "not slow" tests/unit

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev
	$(BIN)/mypy

contracts: .venv/.installed-dev
	$(BIN)/lint-imports

check: lint types contracts test

# The tests of `test`, but one whose limit the coverage files meet too, under branch coverage, those in started processes too; its own target, as it takes longer. It holds
# the floors of scripts/coverage_floor.py and writes pages to build/coverage.
coverage: .venv/.installed-dev
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow and not gpu" --cov --cov-report= --deselect tests/e2e/test_mishaps.py::test_a_limit_on_file_sizes_is_told
	$(BIN)/coverage html --quiet --directory build/coverage
	$(BIN)/coverage json --quiet -o build/coverage/coverage.json
	$(BIN)/python scripts/coverage_floor.py build/coverage/coverage.json

# What only a machine with a GPU can show, into build/gpu-proof/gpu-proof.json; a call that was cut off goes on where it was.
# No network is needed, and with GPU_PYTHON=python3.12 no .venv: PYTHONPATH may name a folder of installed libraries.
gpu-proof:
	PYTHONPATH=$(CURDIR):$$PYTHONPATH $(GPU_PYTHON) -m node bench gpu --dir build/gpu-proof --device $(GPU_DEVICE)

# Small faults in what decides what is trained on: which do the tests of the same room not notice?
mutants: .venv/.installed-dev
	for file in $(filter-out %/__init__.py,$(wildcard swarm/admission/*.py swarm/sampling/*.py policies/strategies/*.py)) policies/advantage.py \
		policies/text/batching.py policies/diffusion/loss.py node/storage/checkpoint.py; do \
		$(BIN)/python scripts/mutants.py $$file || exit 1; done

# A wheel and a source distribution, of the version that the tag says.
dist: .venv/.installed-dev
	$(BIN)/python -m hatchling build -d dist

# A broken link or a page outside the menu ends it. The references are written from the code first.
docs: .venv/.installed-docs
	$(BIN)/python docs/generate
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

# Tables and plots of docs/results.md, from the finished cells under results/.
results: .venv/.installed-dev
	$(BIN)/python -m node.bench.results

# Each says what it does and goes on where it was broken off.
.venv/.installed-run: pyproject.toml
	@MAKE_GOAL=$(firstword $(MAKECMDGOALS)) $(PYTHON) scripts/install.py run
	@touch $@

.venv/.installed-dev: pyproject.toml
	@MAKE_GOAL=$(firstword $(MAKECMDGOALS)) $(PYTHON) scripts/install.py dev
	@touch $@ .venv/.installed-run

.venv/.installed-docs: pyproject.toml
	@MAKE_GOAL=$(firstword $(MAKECMDGOALS)) $(PYTHON) scripts/install.py docs
	@touch $@

# The versions of uv.lock, which CI tests with. uv comes by: pip install uv
locked:
	$(UV) venv --allow-existing --seed --python $(PYTHON) .venv
	$(UV) sync --locked $(LOCKED) --extra observer || $(UV) sync --locked $(LOCKED)
	touch .venv/.installed-run .venv/.installed-dev

LOCKED := --extra envs --extra gguf --extra diffusion --extra dev --inexact

# Without this machine's own settings: the lock is for everybody.
lock:
	env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS $(UV) --no-config lock

clean:
	rm -rf .venv build dist docs/reference .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
