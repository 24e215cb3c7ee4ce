# Every target is one command you may type yourself. PYTHON names the interpreter of the environment to use.
PYTHON ?= python

.PHONY: check test bench tables map docs

check:  ## what CI runs before the tests: lint, format, types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')"

test:  ## the whole test suite
	$(PYTHON) -m pytest -n auto

bench:  ## measure speed beside peers, and the default run over three seeds; then write the tables
	-$(PYTHON) benchmarks/numerics.py
	$(PYTHON) benchmarks/recipes.py
	$(PYTHON) benchmarks/tables.py

tables:  ## write docs/results.md, docs/speed.md and benchmarks/RESULTS.md from the measured rows
	$(PYTHON) benchmarks/tables.py

map:  ## measure every correspondence of tests/theory, and write core/correspondences.json and docs/map.md
	$(PYTHON) docs/map.py

docs:  ## write the generated pages of docs/
	$(PYTHON) docs/build.py
