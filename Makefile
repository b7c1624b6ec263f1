# The interface of the repository: README, CONTRIBUTING and CI call these targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# What is compiled once, of the code and of the tests, is not compiled by each process that the tests start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := test
.PHONY: demo setup test lint types unit processes fmt bench study study-tables schema vectors fuzz mutate faults flower-latest counts version dist docs notebook outputs clean

demo: $(READY)  ## train on the two census pods, in simulation, with secure aggregation
	$(BIN)/fl-app demo

setup: $(READY)  ## make .venv and lay the demonstration out

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[dev]"
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true  # on all cores; some packages hold files that are no Python
	$(BIN)/fl-app demo --prepare
	touch $(READY)

test:  ## everything that CI runs
	$(MAKE) -j4 unit types docs lint mutate notebook
	$(MAKE) processes

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)  ## tests that start no Flower process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not processes and not mutations" -n 2 --dist loadfile

# Four at a time on two cores: alone, these tests wait a third of their time, for each other's processes and for time limits.
processes: $(READY)  ## tests on real Flower processes
	$(BIN)/python -m pytest -m processes -n 4 --dist load --maxschedchunk 1 $$(grep -rl --include='*.py' 'mark\.processes' tests)

docs: $(READY)  ## the documentation as a site in build/docs, which needs no network
	$(BIN)/python -m sphinx -W --keep-going -q -E docs build/docs

notebook: $(READY)  ## execute the notebook
	$(BIN)/python -m pytest -p nbmake --nbmake --nbmake-timeout=600 --timeout=900 notebooks

outputs: $(READY)  ## execute the notebook, and keep its outputs in it
	$(BIN)/python scripts/execute_notebook.py

fmt: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## measure secure aggregation against its rivals and its limits
	$(BIN)/python -m benchmarks

study: $(READY)  ## what joining pods is worth: train the rows that docs/study lacks, and write the page (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.joining

study-tables: $(READY)  ## how eight other tables do with no setting but the target: train those that docs/study lacks, and write the page
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[study]"
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tables

schema: $(READY)  ## write the JSON schema of results.json
	$(BIN)/python scripts/results_schema.py

vectors: $(READY)  ## write the test vectors anew
	$(BIN)/python scripts/make_vectors.py

fuzz: $(READY)  ## 100,000 malformed messages
	$(BIN)/python scripts/fuzz.py --inputs 100000

mutate: $(READY)  ## take each security check out and see a test fail
	$(BIN)/python -m pytest -m mutations tests/adversary/test_mutations.py

flower-latest: $(READY)  ## what touches Flower, under the oldest and the newest release of it that is supported
	$(BIN)/python scripts/flower_releases.py

faults: $(READY)  ## pods killed, late and doubled, at every point of a run
	$(BIN)/python -m pytest tests/faults -s

counts: $(READY)  ## write the tables of SECURITY.md and docs/pod-owner.md anew
	$(BIN)/python scripts/security_counts.py --write
	$(BIN)/python scripts/policy_table.py --write

dist: $(READY)  ## a release in dist/: wheel, source distribution, SBOM and checksums
	rm -rf dist build/lib build/bdist.*
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || date +%s) $(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python scripts/sbom.py dist/fl-app.cdx.json
	cd dist && sha256sum -- *.whl *.tar.gz *.cdx.json > SHA256SUMS

version: $(READY)  ## copy the version in pyproject.toml to the other files that must name it
	$(BIN)/python scripts/keep_version.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
