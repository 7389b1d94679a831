# Two commands do everything on a fresh machine with Python 3.11 or later and make:
#   make demo   install, render a small synthetic action data set, classify it
#   make test   install, run the test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= demo

.PHONY: demo test test-slow fuzz check types format docs readme-table clean

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cinefeat needs Python 3.11 or later; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/cinefeat demo $(DEMO)/videos
	$(BIN)/cinefeat run dt-bow --videos $(DEMO)/videos --store $(DEMO)/store --protocol leave-one-group-out

# one worker a core, each of one thread: more threads than cores wait for each other
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# damaged copies of real videos, 500 unless CINEFEAT_FUZZ says how many
fuzz: $(STAMP)
	$(BIN)/python -m pytest -s -m slow tests/end_to_end/test_fuzz.py

# mypy does not follow the editable install: it reads the packages through symlinks
types: $(STAMP)
	@mkdir -p build/types/cinefeat
	@ln -sfn ../../../pipeline build/types/cinefeat/pipeline
	@ln -sfn ../../../extractors build/types/cinefeat/extractors
	@ln -sfn ../../../classifiers build/types/cinefeat/classifiers
	@ln -sfn ../../../pipeline/_top/__init__.py build/types/cinefeat/__init__.py
	@ln -sfn ../../../pipeline/_top/py.typed build/types/cinefeat/py.typed
	$(BIN)/python -m mypy -p cinefeat

check: types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# every link and anchor is checked; open build/site/index.html
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# the results in data/measured, put into README.md
readme-table: $(STAMP)
	@mkdir -p build
	$(BIN)/cinefeat table --markdown Weizmann=data/measured/weizmann > build/table.md
	sed -i -e '/begin: cinefeat table/,/end: cinefeat table/{//!d}' \
		-e '/begin: cinefeat table/r build/table.md' README.md

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
