# make setup | demo | test | check | table3 ... table7, noise-table, figure3. Everything happens in .venv; nothing else of the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: setup demo test test-fast lint check format lock clean table3 table4 table5 table6 table7 noise-table figure3

setup: $(STAMP)

# uv installs the hash-checked list; where it is missing, pip brings it into .venv.
# The list is complete, so nothing is resolved again; the project itself is added without its dependencies.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: $(PYTHON) is too old; Python 3.11 or newer is needed (make setup PYTHON=python3.12)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "setup: installing the locked packages into .venv (PyTorch alone is about 3 GB)"
	@PATH="$$PWD/$(BIN):$$PATH" uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@PATH="$$PWD/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup
	@PATH="$$PWD/$(BIN):$$PATH" dvc repro
	@echo "demo: done. Open results/report.html in a browser; scores are in results/metrics.json"

# The paper's tables, and one of methods on wrong labels (docs/tables.md): runs what is missing, then renders to results/tables.
# Less of it: make table4 TABLE_ARGS="--seeds 1 --only 4.0 --only 5.0"
table3 table4 table5 table6 table7: setup
	@PATH="$$PWD/$(BIN):$$PATH" cct table $@ --run $(TABLE_ARGS)

noise-table: setup
	@PATH="$$PWD/$(BIN):$$PATH" cct table noise --run $(TABLE_ARGS)

figure3: setup
	@PATH="$$PWD/$(BIN):$$PATH" cct table figure3 $(TABLE_ARGS)

# Files of tests side by side, a process a core and at most four; a thread each, since many of them start processes of their own.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test: setup
	@$(PYTEST)

test-fast: setup
	@$(PYTEST) -m "not slow"

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

check: lint
	@$(PYTEST) -q -m "not slow"

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# After a change of dependencies in pyproject.toml. The list carries hashes and no download addresses.
lock: setup
	@PATH="$$PWD/$(BIN):$$PATH" uv pip compile pyproject.toml --all-extras --universal --generate-hashes --python-version 3.11 --no-header --output-file requirements.lock

clean:
	rm -rf .venv
