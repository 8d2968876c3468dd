# The commands of the README. Everything they need is installed below .venv, or said to be missing.
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PULUMI_VERSION := 3.272.0
STATE := $(CURDIR)/.state
PYTHON := .venv/bin/python
export PATH := $(PATH):$(HOME)/.pulumi/bin
export PULUMI_SKIP_UPDATE_CHECK := true

# Stack dev is the lab's: its state stays in this folder and its passphrase guards nothing but the lab.
up pull preview down: export PULUMI_BACKEND_URL := file://$(STATE)
up pull preview down: export PULUMI_CONFIG_PASSPHRASE := lab
up pull preview down: export PULUMI_STACK := dev

# Pulumi's own engine where it is on PATH or can be downloaded, else the lab's rehearsal engine, which needs no download.
ENGINE = $$(command -v pulumi || echo "$(PYTHON) -m lab.rehearsal")

.PHONY: up pull preview down check test bench engine stack lab

up: engine stack lab  ## everything set up, stack dev deployed to the lab, its URL printed, a pull through it done
	$(ENGINE) up --yes
	@$(MAKE) --no-print-directory pull

pull: | $(STATE)  ## the URL of stack dev's cache, and a pull through it
	@$(ENGINE) stack output cacheUrl
	@$(ENGINE) stack output --json caches | $(PYTHON) -m lab pull

preview: engine stack lab  ## what `make up` would change
	$(ENGINE) preview --diff

down: .venv/installed stack  ## stack dev and the lab removed, even where the lab no longer runs
	-if $(PYTHON) -m lab status >/dev/null 2>&1; then $(ENGINE) destroy --yes; fi
	$(PYTHON) -m lab down
	rm -rf $(STATE)

check: .venv/installed  ## formatting, lint, types, layers
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

test: check  ## the checks, then all tests; end-to-end on the real engine where pulumi is on PATH
	$(PYTHON) -m pytest --numprocesses 6 --dist loadscope --no-loadscope-reorder

bench: .venv/installed  ## the speeds that are promised, as ratios in one run
	$(PYTHON) -m bench

.venv/installed: requirements.txt requirements-dev.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

lab: .venv/installed
	$(PYTHON) -m lab up

engine: .venv/installed
	@command -v pulumi >/dev/null \
	  || { curl --fail --silent --show-error --location --max-time 120 https://get.pulumi.com | sh -s -- --version $(PULUMI_VERSION) --no-edit-path; } \
	  || echo "make: Pulumi's CLI is not on PATH and $(PULUMI_VERSION) can't be downloaded from get.pulumi.com: the lab's rehearsal engine takes its place"

stack: | $(STATE)
	@if command -v pulumi >/dev/null; then pulumi stack select --create dev; fi

$(STATE):
	mkdir --mode 700 $@
