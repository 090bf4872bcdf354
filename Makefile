# Two commands from a bare checkout: `make demo` and `make test`. Each sets up .venv itself, from the package index.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-unit lint types contracts check docs results clean

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

# A broken link or a page outside the menu ends it. The references are written from the code first.
docs: .venv/.installed-docs
	$(BIN)/python docs/generate
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

# Tables and plots of docs/results.md, from the finished cells under results/.
results: .venv/.installed-dev
	$(BIN)/python -m node.bench.results

.venv/.installed-run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[envs,gguf,diffusion,dev]"
	touch $@ .venv/.installed-run

.venv/.installed-docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

clean:
	rm -rf .venv build dist docs/reference .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
