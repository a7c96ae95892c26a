# Needs CPython 3.11 or newer with pip and venv, make and git. Nothing else, and no root.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Pins hatchling and the Node wheel of pip's isolated build; pip 25.3 renamed the variable. Relative,
# because pip takes a space in the variable for the end of a path.
BUILD_PINS := PIP_CONSTRAINT=requirements/build.txt PIP_BUILD_CONSTRAINT=requirements/build.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format types layers tree words audit fuzz wire dashboard dashboard-dev bench coverage mutants chaos soak deploy interop emitters frameworks agents journeys nextjs oldest lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# A Python that is named on the command line and is another version makes a new environment.
ifeq ($(origin PYTHON),command line)
VERSION := import sys; print(sys.version_info[0], sys.version_info[1])
NAMED := $(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)
HAVE := $(shell test -x $(BIN)/python && $(BIN)/python -c '$(VERSION)')
ifneq ($(and $(NAMED),$(HAVE)),)
ifneq ($(NAMED),$(HAVE))
$(shell rm -rf $(VENV))
endif
endif
endif

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "otel-bridge needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "otel-bridge: $(PYTHON) has no venv module; install it (Debian: python3-venv)"; exit 2; }

# pip says what failed in many lines; whether it was the network is what a reader wants to know.
UNREACHABLE := NewConnectionError|name resolution|Could not fetch URL|ProxyError|timed out|Connection (refused|reset)|Network is unreachable|registry is unreachable|No matching distribution
# $(1) is the virtual environment, $(2) its requirements, $(3) what they are for.
define install
@echo "otel-bridge: installing $(3) and the network"
@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
  { $(1)/bin/python -m pip install --quiet --require-hashes -r $(2) && echo "otel-bridge: building the dashboard if its sources changed" && \
    $(BUILD_PINS) $(1)/bin/python -m pip install --quiet --no-deps -e . ; echo $$? >"$$log.code"; } 2>&1 | tee "$$log"; \
  code=$$(cat "$$log.code"); rm -f "$$log.code"; \
  if [ "$$code" -ne 0 ] && grep -qE '$(UNREACHABLE)' "$$log"; then \
    echo "otel-bridge: the network failed: pip or npm could not reach its package index (see above)"; fi; \
  exit "$$code"
@touch $@
endef

$(VENV)/.demo: $(BIN)/python pyproject.toml requirements/demo.txt requirements/build.txt
	$(call install,$(VENV),requirements/demo.txt,what make demo needs: the first time takes about two minutes)

$(VENV)/.dev: $(BIN)/python pyproject.toml requirements/dev.txt requirements/build.txt
	$(call install,$(VENV),requirements/dev.txt,what the tests need: the first time takes about two minutes)
	@touch $(VENV)/.demo

# The newest arq and the newest Celery need different versions of redis-py, so arq is tested in an
# environment of its own, as pip makes it for an application of arq alone. 10 s, 80 MB.
$(VENV)-arq/.arq: $(VENV)/.dev requirements/arq.txt
	@$(BIN)/python -m venv --clear $(VENV)-arq
	$(call install,$(VENV)-arq,requirements/arq.txt,what the tests of arq need: this takes 10 seconds)

demo: $(VENV)/.demo ## a real research task on a live dashboard, nothing else needed
	OTEL_BRIDGE_MAKE=1 $(BIN)/python -m otel_bridge_collector demo $(ARGS)

# Three processes for two cores: with two, the cores are idle 40 % of the time, because most tests
# wait for real servers. Bytecode is kept whatever the shell says: each process compiles 750 modules
# otherwise, 6 s of a CPU, and each program that a test starts ours. ARGS="-n 0 -s" to debug.
test: $(VENV)/.dev $(VENV)-arq/.arq ## every test of the default run
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

check: lint types layers words wire audit ## format, lint, types, layers, words, generated files, known vulnerabilities

lint: $(VENV)/.dev ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.dev ## write the format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/python -m mypy

layers: $(VENV)/.dev ## import-linter
	$(BIN)/python -c "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"

tree: $(VENV)/.dev ## draw the tree of both packages into ARCHITECTURE.md
	$(BIN)/python -m tests.support.architecture --write

audit: $(VENV)/.dev ## known vulnerabilities of the locked packages (needs their databases)
	$(BIN)/python -m tests.support.audit

words: $(VENV)/.dev ## words that an outsider cannot know, and what to write instead
	$(BIN)/python -m tests.support.plain_words

wire: $(VENV)/.dev ## the dashboard's wire types match the models
	$(BIN)/python -m otel_bridge_collector.wire.typescript --check

dashboard: $(VENV)/.dev ## build the dashboard again after editing it
	$(BIN)/python hatch_build.py

# Twice the CPU time of the unit tests alone: 36 s without, 70 s with it, on two cores 30 and 60 s.
coverage: $(VENV)/.dev ## branch coverage of the unit tests; its floor only rises
	$(BIN)/python -m pytest tests/unit -n 2 --dist loadfile --cov --cov-report= $(ARGS)
	$(BIN)/python -m tests.support.coverage_floor

mutants: $(VENV)/.dev ## mutation tests of the pure modules, 5 minutes; ARGS=filters for one (tests/MUTANTS.md)
	$(BIN)/python -m tests.support.mutants $(ARGS)

# A virtual environment of its own: Logfire, a peer, brings plugins that the tests must not meet.
$(VENV)-bench/.bench: pyproject.toml requirements/bench.txt requirements/build.txt
	test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip install --quiet --require-hashes -r requirements/bench.txt
	$(BUILD_PINS) $(VENV)-bench/bin/pip install --quiet --no-deps -e .
	@touch $@

bench: $(VENV)-bench/.bench ## the numbers of ARCHITECTURE.md, as ratios taken in one run
	$(VENV)-bench/bin/python -m tests.benchmarks $(ARGS)

chaos: $(VENV)/.dev ## long fault proofs: kill, stop and restart real servers
	$(BIN)/python -m pytest -m chaos --timeout 900 $(ARGS)

# Memory is steady once the collector's limits are full: a shorter run takes smaller ones (tests/SOAK.md).
soak: $(VENV)/.dev ## one hour of load on a real collector; ARGS="--minutes 6 --rate 1500 --scale 0.06"
	$(BIN)/python -m tests.soak $(ARGS)

FUZZ_SEC ?= 60
fuzz: $(VENV)/.dev ## coverage-guided fuzzing of the parsers, FUZZ_SEC=60 each
	for target in traces logs shapes push event; do $(BIN)/python -m tests.support.fuzz $$target -max_total_time=$(FUZZ_SEC) -max_len=8192 -verbosity=0 || exit 1; done

deploy: $(VENV)/.dev ## check the files of deploy/ with nginx, Caddy, promtool, systemd and pip (apt has them)
	$(BIN)/python -m pytest -m deploy -rs $(ARGS)

interop: $(VENV)/.dev ## a real OpenTelemetry Collector, Jaeger, Tempo and a Node agent (needs Go to build them)
	$(BIN)/python -m pytest -m interop -rs $(ARGS)

# One environment for each version, 11 in all: 80 MB each, 100 s to install, the tests 5 minutes.
frameworks: $(VENV)/.dev ## contract tests with every supported version of the task frameworks; ARGS=celery-5.5 for one
	$(BIN)/python -m tests.support.framework_versions $(ARGS)

# One environment for each library, 7 in all: 1.2 GB, 100 s to install.
agents: $(VENV)/.dev ## real programs of agent libraries with models that need no network, watched live
	$(BIN)/python -m tests.support.agent_libraries $(ARGS)

journeys: $(VENV)/.dev ## longer ways through the page and the terminal, from each sign of trouble to its cause
	$(BIN)/python -m pytest -m journeys -rs -n 2 --dist loadfile $(ARGS)

emitters: $(VENV)/.dev ## programs in JavaScript, Go and Java whose open spans are watched (needs Go, Java with Maven)
	$(BIN)/python -m pytest -m emitters -rs $(ARGS)

nextjs: $(VENV)/.dev ## build a Next.js page around the dashboard and look at it (fetches 370 MB)
	$(BIN)/python -m pytest -m nextjs $(ARGS)

# redis-py's older asyncio clients warn of connections that they close themselves when collected.
oldest: $(VENV)/.dev ## unit and contract tests on the oldest versions that pyproject.toml allows (needs uv)
	uv venv --quiet --clear --python $(BIN)/python $(VENV)-oldest
	VIRTUAL_ENV=$(VENV)-oldest $(BUILD_PINS) uv pip install --quiet --resolution lowest-direct -e '.[dev]'
	$(VENV)-oldest/bin/python -m pytest tests/unit tests/contract -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning $(ARGS)

lock: $(VENV)/.dev ## resolve the locked requirements again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra demo -o requirements/demo.txt pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra dev -o requirements/dev.txt pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra arq -o requirements/arq.txt pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra collector --extra grpc --extra oidc --extra postgres -c requirements/dev.txt -o requirements/service.txt pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra bench -c requirements/dev.txt -o requirements/bench.txt pyproject.toml
	$(BIN)/python -m tests.support.framework_versions --lock
	$(BIN)/python -m tests.support.agent_libraries --lock

clean: ## remove what was built
	rm -rf $(VENV) $(VENV)-agents $(VENV)-arq $(VENV)-bench $(VENV)-frameworks $(VENV)-oldest build dist collector/otel_bridge_collector/static collector/dashboard/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
