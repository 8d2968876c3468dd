# The commands of the README. Everything they need is installed below .venv, or said to be missing.
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

STATE := $(CURDIR)/.state
PYTHON := .venv/bin/python
export PATH := $(PATH):$(HOME)/.pulumi/bin:$(CURDIR)/.venv/bin
export PULUMI_SKIP_UPDATE_CHECK := true

# Stack dev is the lab's: its state stays in this folder and its passphrase guards nothing but the lab. Metadata would be
# one more file beside each, which a killed run may leave empty: Pulumi can't load the state then (docs/recover.md).
up pull preview down: export PULUMI_BACKEND_URL := file://$(STATE)?metadata=skip
up pull preview down: export PULUMI_CONFIG_PASSPHRASE := lab
up pull preview down: export PULUMI_STACK := dev

COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

.PHONY: up pull preview down check lock unit test mutants bench engine stack lab

up: stack lab  ## everything set up, stack dev deployed to the lab, its URL printed, a pull through it done
	pulumi up --yes
	@$(MAKE) --no-print-directory pull

pull: | $(STATE)  ## the URL of each of stack dev's caches, and a pull through it
	@pulumi stack output --json caches | $(PYTHON) -m lab pull

preview: stack lab  ## what `make up` would change
	pulumi preview --diff

down: stack  ## stack dev and the lab removed, even where the lab no longer runs
	-if $(PYTHON) -m lab status >/dev/null 2>&1; then pulumi destroy --yes; fi
	$(PYTHON) -m lab down
	rm -rf $(STATE)

check: .venv/installed  ## formatting, lint, types, layers, locks
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	@for each in requirements requirements-dev; do \
		cp $$each.txt .venv/lock; $(COMPILE) $$each.in --output-file .venv/lock; \
		cmp --silent $$each.txt .venv/lock || { echo "$$each.txt is older than $$each.in: run make lock"; exit 1; }; \
	done

lock: .venv/installed  ## requirements*.txt: what requirements*.in name and all below, with hashes
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-dev.in --output-file requirements-dev.txt

unit: .venv/installed  ## the tests that need no root, no network and no swarm
	$(PYTHON) -m pytest tests/msr_cache -m "not swarm and not engine" --numprocesses 2 --quiet

test: check engine  ## the checks, then all tests
	$(PYTHON) -m pytest --numprocesses 6 --dist loadscope --no-loadscope-reorder $(PYTEST_OPTIONS)

mutants: export PYTHONPATH := $(CURDIR)/.mutants/lib
mutants: export PYTHONDONTWRITEBYTECODE := 1
mutants: .venv/installed  ## a copy with one thing wrong at a time, and what no unit test notices: takes hours
	rm -rf .mutants && mkdir .mutants
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory .mutants
	ln -s ../.venv .mutants/.venv
	.venv/bin/pip install --quiet --disable-pip-version-check --target .mutants/lib cosmic-ray==8.7.0
	cd .mutants && $(PYTHON) -m cosmic_ray.cli init cosmic-ray.toml all.sqlite
	cd .mutants && $(PYTHON) -m cosmic_ray.tools.filters.operators_filter all.sqlite cosmic-ray.toml
	cd .mutants && nice -n 15 $(PYTHON) -m cosmic_ray.cli exec cosmic-ray.toml all.sqlite
	cd .mutants && $(PYTHON) -m cosmic_ray.tools.report --surviving-only --show-diff all.sqlite

bench: engine  ## the speeds that are promised, as ratios in one run
	$(PYTHON) -m bench

.venv/installed: requirements-dev.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

lab: .venv/installed
	$(PYTHON) -m lab up

engine: .venv/installed  ## Pulumi: from PATH, else by its installer, else built; and its plugins
	@$(PYTHON) -m lab.pulumi

stack: engine | $(STATE)
	@pulumi stack select --create dev

$(STATE):
	mkdir --mode 700 $@
