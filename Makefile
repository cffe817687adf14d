# Both targets are complete on a fresh machine with Python 3.11+ and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TABLES := rates products pixels symbols scaling memory workers startup training
FLOOR := 97

.PHONY: demo test test-debug test-slow test-portability coverage lint docs wheel bench clean

demo: $(VENV)/installed
	$(BIN)/mcbits demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2

# The quick tests again with bounds checks and assertions in the extensions.
test-debug: $(VENV)/installed
	PYTHON="$(CURDIR)/$(BIN)/python" tests/robustness/debug.sh

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m slow

# Other compilers and processors; each is skipped, saying so, where its tools are not to be had.
test-portability: $(VENV)/installed
	$(BIN)/python tests/portability/run.py --install

# The quick tests again, counting the lines of Python they run, in the processes they start too. The one left out makes the
# disk too small for the counts as well.
coverage: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=$(FLOOR) \
		--deselect tests/test_crash.py::test_a_full_disk_is_one_line_and_leaves_no_half_of_a_file

# Wheel and sdist, installed and tried where there is neither a checkout nor a compiler.
wheel: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build
	PYTHON="$(CURDIR)/$(BIN)/python" tests/wheel.sh

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml --allowlist tests/stubtest_allowlist.txt mcbits._rans mcbits.core
	$(BIN)/python tests/imports.py

docs: $(VENV)/docs
	$(BIN)/python docs/house.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/bench
	for table in $(TABLES); do $(BIN)/python benchmarks/$$table.py || exit 1; done

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# Editable, so that the tests run the checkout; rebuilt when a Cython source or the list of packages changes.
$(VENV)/installed: pyproject.toml setup.py constraints.txt $(shell find mcbits -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
