# make demo   set up, then run the digits recipe for its targets
# make test   set up if needed, then all tests
# make check  ruff, mypy, and docs/ as a site
# make docs   docs/ as a site, in build/site
# make bench  rerun every benchmark (bench-quick: a short form of each)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test check docs bench bench-quick lock clean
.DEFAULT_GOAL := demo

setup: $(STAMP)

$(STAMP): requirements/lock.txt requirements/install pyproject.toml
	@echo "Setting up .venv from the lock (several gigabytes to download the first time)"
	@requirements/install "$(PYTHON)"
	@touch $@

demo: $(STAMP)
	@$(BIN)/edgepress run recipes/digits-mobilenet.yaml

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.quote

bench-quick: $(STAMP)
	@$(BIN)/python -m benchmarks --quick

lock: $(STAMP)
	@.uv/bin/uv pip compile --quiet pyproject.toml \
		--extra recipes --extra search --extra sign --extra explain --extra tracking --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url \
		--override requirements/overrides.txt --constraint requirements/constraints.txt -o requirements/lock.txt

clean:
	@rm -rf .venv .uv .peers build *.egg-info .mypy_cache .ruff_cache .pytest_cache
