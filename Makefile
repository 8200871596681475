# make up: a whole edge network on this machine.   make test: everything checked by running it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := --universal --generate-hashes --no-header --no-annotate --quiet

PACKAGES := topology routing wire runtime wan pops tunnel_client lab benchmarks

RUNS   ?= 1000000
SIDE_BY_SIDE ?= -n auto --maxprocesses 4 --dist worksteal

.PHONY: help up test check bench attacks fuzz image image-tar lock clean

help:
	@echo "make up      set up, start the default world, send a first request from Tokyo, stay until Ctrl-C"
	@echo "make test    set up and pass all tests"
	@echo "make check   ruff, mypy --strict, import rules"
	@echo "make bench   every figure the project claims, measured here"
	@echo "make attacks every attack of tests/attacks against a PoP on loopback: what was sent, what happened"
	@echo "make fuzz    RUNS inputs (1000000) for each parser that reads what strangers write"
	@echo "make image   build the container image; make image-tar: into a file, for machines without Internet"
	@echo "make lock    refresh the lock files from pyproject.toml: for development, and what the image holds"

# The stamp depends on the lock file alone: a code change needs no new set-up.
# Compiled as pip does with what it installs: a lab and the tests start our programs again and again.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 $(PACKAGES)
	@touch $@

up: $(VENV)/.ready
	@$(BIN)/popnet up --first-request tokyo

# Real kernels and clocks, last and alone: what runs beside them would show in what they measure.
test: $(VENV)/.ready
	$(BIN)/python -m pytest --ignore tests/system $(SIDE_BY_SIDE)
	$(BIN)/python -m pytest tests/system

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks

attacks: $(VENV)/.ready
	$(BIN)/python -m tests.attacks

$(VENV)/.fuzz: $(VENV)/.ready fuzz/requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r fuzz/requirements.lock
	@touch $@

# One after the other: each takes minutes, and a machine has other things to do.
fuzz: $(VENV)/.fuzz
	@for harness in $$($(BIN)/python -m fuzz --list); do \
		echo "-- $$harness: $(RUNS) inputs"; \
		$(BIN)/python -m fuzz $$harness -runs=$(RUNS) -verbosity=0 -print_final_stats=1 || exit 1; \
	done

image:
	docker compose build

# For machines without Internet: docker load -i popnet-image.tar.gz
image-tar: image
	docker save popnet | gzip -1 > popnet-image.tar.gz
	@ls -lh popnet-image.tar.gz

lock: $(VENV)/.ready
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK) --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --constraints requirements.lock $(LOCK) -o requirements-runtime.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
