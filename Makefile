# Every target sets up what it needs: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV   ?= .venv
WORKERS ?= 2
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
BUILT  := $(if $(PROJECT_URL),out/addressed,.)

.PHONY: demo chat serve test lowest lint types imports docs bench build image check setup clean

demo: setup  ## answer a prompt with the bundled pair, plain and speculative
	$(BIN)/specdec generate --compare

serve: setup  ## the OpenAI-compatible endpoint on this machine, with the bundled pair
	$(BIN)/specdec serve

chat: setup  ## the terminal chat with the bundled pair
	$(BIN)/specdec chat

test: setup  ## the default test suite, in WORKERS=2 processes, of up to 1.5 GB each
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: setup  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict
	$(BIN)/mypy

imports: setup  ## which package may import which
	$(BIN)/lint-imports

lowest:  ## the tests of what stands on other packages, with the lowest versions of these that pyproject.toml allows
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(PYTHON) .ci/lowest.py >$(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --quiet -c $(VENV)-lowest/lowest.txt -e '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -q -W ignore::pydantic.warnings.UnsupportedFieldAttributeWarning \
	  tests/cli tests/specdec_server tests/langchain_specdec tests/llama_index_specdec tests/remote

build: setup  ## wheels and sdists in dist/, checked; PROJECT_URL=https://... is the public address that they name
	rm -rf dist out/addressed
	$(if $(PROJECT_URL),$(BIN)/python .ci/addressed.py $(PROJECT_URL) out/addressed)
	for folder in $(BUILT) $(BUILT)/integrations/distributions/*; do $(BIN)/python -m build --quiet --outdir dist $$folder || exit 1; done
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python .ci/contents.py dist $(PROJECT_URL)

docs: setup  ## the site of docs/ in out/site; a link that leads nowhere is an error
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html docs out/site

image:  ## a container with the endpoint; CUDA=1 for NVIDIA GPUs
	docker build --build-arg CUDA=$(CUDA) -t specdec .

bench: setup  ## every promised figure, with its target
	$(BIN)/specdec bench --peers

check: lint types imports test

setup: $(STAMP)

# torch comes first and alone: with it in place no other package can pull in a different build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "specdec needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip uninstall -qq --yes specdec  # what this was called once, or another project
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
