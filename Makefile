# make        set up .venv, run the whole workflow at mini scale, say where the results are
# make test   set up .venv, run the tests
# make fuzz   set up .venv, give each reader of untrusted bytes damaged files for a minute
# make slurm  set up .venv, run all benchmarks on a Slurm of two nodes on this machine, as root
# make bench  set up .venv, measure preparations and loaders beside those of peers, into docs/performance.md
# make lint   style of Python and workflow files
# make venv   set up .venv only
# make lock   resolve envs/requirements.in anew into envs/requirements.lock
#
# make PYTHON=/path/to/python   with that Python, instead of the newest of 3.11 to 3.14 that envs/find-python finds

VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
# Do not pick up what a user's shell or home directory offers instead.
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH
# Without bytecode each job would compile its modules, and each plan look through them all, anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test fuzz slurm bench lint venv lock

run: venv
	snakemake --cores all
	@echo
	@cat results/mini/scores.md
	@echo
	@echo "scores: results/mini/scores.csv   page: results/mini/report.html"

test: venv
	OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

fuzz: venv
	FUZZ_SECONDS=60 OMP_NUM_THREADS=1 pytest --numprocesses 2 tests/fuzz

slurm: venv
	OCTATHLON_SLURM=all OMP_NUM_THREADS=1 pytest tests/slurm

bench: venv
	pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/peers --upgrade --requirement envs/peers.txt
	PYTHONPATH=$(VENV)/peers OMP_NUM_THREADS=1 python benchmarks/data.py --output results/data.md
	python docs/generate.py data

lint: venv
	ruff check
	ruff format --check
	snakefmt --check Snakefile workflow
	snakemake --lint

venv: $(VENV)/.done

$(VENV)/.done: envs/requirements.lock pyproject.toml
	@test -x $(VENV)/bin/python || { found=$$(envs/find-python) && "$$found" -m venv $(VENV); }
	@echo "installing into .venv, with $$(python --version): 3.3 GB to download, 6.4 GB on the disk"
	@pip install --quiet --disable-pip-version-check --no-deps --requirement envs/requirements.lock
	@pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: venv
	{ echo "# Resolved from requirements.in for CPython 3.11 to 3.14 on Linux x86-64: \`make lock\` writes this file."; \
	  pip install --quiet --dry-run --ignore-installed --report - --requirement envs/requirements.in \
	  | python -c 'import json, sys; \
	    pins = [each["metadata"] for each in json.load(sys.stdin)["install"]]; \
	    print(*sorted(("{name}=={version}".format(**pin) for pin in pins), key=str.lower), sep="\n")'; } > envs/requirements.new
	for version in 3.11 3.12 3.13 3.14; do \
	  pip install --quiet --dry-run --ignore-installed --no-deps --target . --python-version $$version \
	    --requirement envs/requirements.new || exit; \
	done
	mv envs/requirements.new envs/requirements.lock
