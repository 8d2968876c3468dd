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

.PHONY: up pull preview down check test bench pulumi lab

up: pulumi lab | $(STATE)  ## everything set up, stack dev deployed to the lab, its URL printed, a pull through it done
	pulumi stack select --create dev
	pulumi up --yes
	@$(MAKE) --no-print-directory pull

pull: | $(STATE)  ## the URL of stack dev's cache, and a pull through it
	@pulumi stack output cacheUrl
	@pulumi stack output --json caches | $(PYTHON) -m lab pull

preview: pulumi lab | $(STATE)  ## what `make up` would change
	pulumi stack select --create dev
	pulumi preview --diff

down: .venv/installed | $(STATE)  ## stack dev and the lab removed
	if command -v pulumi >/dev/null && pulumi stack select dev 2>/dev/null; then pulumi destroy --yes; fi
	$(PYTHON) -m lab down

check: .venv/installed  ## formatting, lint, types, layers
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

test: check  ## the checks, then all tests; end-to-end on the real engine where pulumi is on PATH
	$(PYTHON) -m pytest --numprocesses 3 --dist loadscope

bench: .venv/installed  ## the speeds that are promised, as ratios in one run
	$(PYTHON) -m bench

.venv/installed: requirements.txt requirements-dev.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

lab: .venv/installed
	$(PYTHON) -m lab up

pulumi: .venv/installed
	@command -v pulumi >/dev/null \
	  || { curl --fail --silent --show-error --location --max-time 120 https://get.pulumi.com | sh -s -- --version $(PULUMI_VERSION) --no-edit-path; } \
	  || { echo "make: Pulumi's CLI is not on PATH and $(PULUMI_VERSION) could not be downloaded from get.pulumi.com: install it by hand (https://www.pulumi.com/docs/install), then run this again" >&2; exit 1; }

$(STATE):
	mkdir --mode 700 $@
