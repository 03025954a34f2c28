# make setup | demo | test | check. Everything happens in .venv; nothing else of the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: setup demo test test-fast check format lock clean

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

test: setup
	@$(BIN)/python -m pytest

test-fast: setup
	@$(BIN)/python -m pytest -m "not slow"

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -m "not slow"

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# After a change of dependencies in pyproject.toml. The list carries hashes and no download addresses.
lock:
	uv pip compile pyproject.toml --all-extras --universal --generate-hashes --python-version 3.11 --no-header --output-file requirements.lock

clean:
	rm -rf .venv
