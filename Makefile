# Everything a day needs. `make` lists it.
# Each target sets up what it needs first; a set-up that is already there costs a few hundredths of a second.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL: # cargo uses every core already, and a second one would only wait for its lock

# Options handed to the program behind a target: make demo ARGS=--once
ARGS ?=
# OpenAI's official OpenAPI document, which the repository does not hold; `make conformance` judges by it.
OPENAI_SPEC ?=
# How many histories `make soak` goes through, and the seed of the first. Two cores take a second for each.
SOAK_SEEDS ?= 10000
SOAK_FIRST ?= 1

# Queries are checked against the committed .sqlx, so a build needs no database. While writing queries,
# SQLX_OFFLINE=false with DATABASE_URL set checks them live; `make regen` then brings .sqlx up to date.
export SQLX_OFFLINE ?= true

# The published document, in each revision of the specification: openapi/openapi.json is in 3.1.
OPENAPI := openapi/openapi.json openapi/openapi-3.0.json
revision_of = $(if $(findstring 3.0,$(1)),3.0,3.1)
# Built by the tests with the tests' features: running it through `cargo run` would build the tree again.
STEELYARD := target/debug/steelyard

# No engine is set up when the arguments say that none will be asked.
spaced := $(subst =, ,$(ARGS))
engine_setup := $(if $(findstring --engine simulated,$(spaced))$(findstring --engine none,$(spaced))$(findstring --chain,$(spaced)),true,scripts/engine/setup.sh)
chain_setup := $(if $(findstring --chain,$(spaced)),scripts/setup-contracts.sh,true)

.PHONY: help
help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## Run everything on this machine: one real answer and its bill (ARGS=--once, ARGS="--engine simulated", ARGS="--chain anvil")
	@engine=$$($(engine_setup)); chain=$$($(chain_setup)); \
	if [ -n "$$chain" ]; then export ANVIL_BIN="$$chain/anvil"; fi; \
	cargo build --release --workspace --bins; \
	if [ -n "$$engine" ]; then export STEELYARD_ENGINE_DIR="$$engine"; fi; \
	exec target/release/steelyard demo $(ARGS)

.PHONY: test
test: test-rust test-python ## Run every test: units, properties, Postgres, the real engine, the openai package

.PHONY: test-rust
test-rust: setup setup-redis ## The Rust tests alone (ARGS are handed to the runner)
	@engine=$$(scripts/engine/setup.sh); \
	export STEELYARD_TEST_ENGINE_DIR="$$engine" STEELYARD_TEST_GGUF="$$(ls "$$engine"/*.gguf)"; \
	ANVIL_BIN="$$(scripts/setup-contracts.sh)/anvil"; export ANVIL_BIN; \
	if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --workspace $(ARGS); \
	  cargo test --workspace --doc --quiet; \
	else \
	  cargo test --workspace $(ARGS); \
	fi

.PHONY: test-python
test-python: $(STEELYARD) ## The unmodified openai package against a broker with the real engine
	@engine=$$(scripts/engine/setup.sh); \
	STEELYARD_ENGINE_DIR="$$engine" STEELYARD_BIN=$(STEELYARD) scripts/client/run.sh

.PHONY: conformance
conformance: $(STEELYARD) ## The field's own clients and judges against a broker (OPENAI_SPEC=openai.yaml, ARGS="openai_node vercel")
	@engine=$$(scripts/engine/setup.sh); \
	STEELYARD_ENGINE_DIR="$$engine" STEELYARD_BIN=$(STEELYARD) OPENAI_SPEC="$(OPENAI_SPEC)" scripts/conformance/run.sh $(ARGS)

.PHONY: clients
clients: $(STEELYARD) ## Generate clients from the OpenAPI document, compile them and let them ask a broker (ARGS="python rust")
	@STEELYARD_BIN=$(STEELYARD) scripts/conformance/clients.sh $(ARGS)

.PHONY: check
check: setup-build ## Formatting and lints, as strict as CI
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: regen
regen: ## Rewrite generated files: query cache, OpenAPI document, index of error pages
	scripts/regen-sqlx.sh
	$(MAKE) --no-print-directory $(STEELYARD)
	$(foreach file,$(OPENAPI),$(STEELYARD) openapi --revision $(call revision_of,$(file)) --out $(file) || exit 1;)
	scripts/error-index.sh

.PHONY: regen-check
regen-check: $(STEELYARD) ## Fail when a generated file is stale
	scripts/regen-sqlx.sh --check
	@fresh=$$(mktemp); trap 'rm -f "$$fresh"' EXIT; \
	$(foreach file,$(OPENAPI), \
	  $(STEELYARD) openapi --revision $(call revision_of,$(file)) --out "$$fresh" || exit 1; \
	  diff -u $(file) "$$fresh" || { echo "error: $(file) is stale; run: make regen" >&2; exit 1; };)
	scripts/error-index.sh --check

.PHONY: lint-openapi
lint-openapi: ## Lint the published document with Redocly
	scripts/lint-openapi.sh $(OPENAPI)

.PHONY: contracts
contracts: ## Build and test the contracts, and compare what is committed (ARGS=--update, --deep, --coverage)
	scripts/contracts.sh $(ARGS)

.PHONY: slither
slither: ## Look for known weaknesses in the contracts
	scripts/slither/run.sh

.PHONY: load
load: setup ## Measure the broker beside a bare proxy and nginx (ARGS are handed to scripts/load.sh)
	scripts/load.sh $(ARGS)

.PHONY: bench-settle
bench-settle: setup ## Measure settled requests per second on a Postgres that waits for its disk, beside a transaction each
	cargo bench --workspace --bench settle

.PHONY: soak
soak: setup ## Random histories of the money model, each from a printed seed (SOAK_SEEDS=10000 SOAK_FIRST=1); Ctrl-C ends it early
	@trap '' INT; STEELYARD_MODEL_RUNS=$(SOAK_SEEDS) STEELYARD_MODEL_SEED=$(SOAK_FIRST) \
	  cargo test --workspace --test it --quiet -- --exact model::random_histories_leave_the_books_in_order --nocapture

.PHONY: setup
setup: setup-build ## Install what is missing: compiler, PostgreSQL
	@scripts/setup-postgres.sh >/dev/null

.PHONY: setup-redis
setup-redis:
	@scripts/setup-redis.sh >/dev/null

.PHONY: setup-build
setup-build:
	@scripts/setup-build.sh

# Always asks cargo, which knows better than file times whether there is anything to do.
.PHONY: $(STEELYARD)
$(STEELYARD): setup
	@cargo test --workspace --no-run --quiet
