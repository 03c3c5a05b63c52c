# Sluice: see README.md. Expensive builds stay outside the checkout, in $(SLUICE_CACHE).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export SLUICE_CACHE ?= $(HOME)/.cache/sluice
export CARGO_TARGET_DIR ?= $(SLUICE_CACHE)/target
# The tests' clusters: this name for those without pods, and this name with -node.
export SLUICE_TEST_CLUSTER ?= test

# Always the whole workspace with all targets: with a part of it the dependencies get other features, and are built once more.
BUILD := cargo build --locked --workspace --all-targets
# What is measured is what images have. The workspace again, so that features are those of BUILD.
MEASURED := cargo build --locked --workspace --profile dist
# Where a broker takes a gigabyte in ten seconds, its disk would be what is measured: it writes to memory where there is enough, unless
# SLUICE_STATE says where.
IN_MEMORY = $(if $(SLUICE_STATE),,$(shell [ "$$(df --output=avail --block-size=1G /dev/shm 2>/dev/null | tail -1)" -ge 8 ] && echo SLUICE_STATE=/dev/shm/sluice))
PROGRAMS := $(CARGO_TARGET_DIR)/debug

.PHONY: help demo demo-down test soak bench-status bench-topics bench-webhook bench-worker unit fuzz valgrind lint generate prerequisites

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: prerequisites ## From nothing to a webhook that travels to an API
	@echo "Building Sluice (the first time takes some minutes)"
	@$(BUILD) --quiet
	@$(PROGRAMS)/demo

demo-down: ## Stops the demo's cluster and leaves nothing behind
	@$(BUILD) --quiet && $(PROGRAMS)/sluice-cluster down --name demo

test: prerequisites ## Every test, on the real components
	$(BUILD)
	trap '$(PROGRAMS)/sluice-cluster down --name $(SLUICE_TEST_CLUSTER); $(PROGRAMS)/sluice-cluster down --name $(SLUICE_TEST_CLUSTER)-node' EXIT; \
	cargo test --locked --workspace --no-fail-fast

# Records that each of the worker's tests of `soak` is about, and requests that each of the receivers' is.
RECORDS ?= 1000000
EVENTS ?= 100000

soak: prerequisites ## A million records and 100,000 events, while workers, receivers, their broker and their API are disturbed without end
	$(BUILD)
	SLUICE_RECORDS=$(RECORDS) cargo test --locked --workspace --test worker -- conserving:: --test-threads 1 --nocapture
	trap '$(PROGRAMS)/sluice-cluster down --name $(SLUICE_TEST_CLUSTER); $(PROGRAMS)/sluice-cluster down --name $(SLUICE_TEST_CLUSTER)-node' EXIT; \
	SLUICE_EVENTS=$(EVENTS) cargo test --locked --workspace --test receiver --test node -- redis:: --test-threads 1 --nocapture

bench-status: prerequisites ## What true numbers in 1,000 and 5,000 statuses cost, at rest and while records come
	$(MEASURED) --bin sluice-operator --bin bench-status
	$(CARGO_TARGET_DIR)/dist/bench-status

bench-topics: prerequisites ## What 100, 1,000 and 5,000 Topics cost, beside the least possible work
	$(MEASURED) --bin sluice-operator --bin bench-topics
	$(CARGO_TARGET_DIR)/dist/bench-topics

bench-webhook: prerequisites ## What a receiver costs, beside a handler that checks nothing and beside other programs
	$(MEASURED) --bin sluice-receiver --bin bench-webhook
	$(IN_MEMORY) $(CARGO_TARGET_DIR)/dist/bench-webhook

bench-worker: prerequisites ## What a worker costs, beside loops of the client library and beside another program
	$(MEASURED) --bin sluice-worker --bin bench-worker
	$(IN_MEMORY) $(CARGO_TARGET_DIR)/dist/bench-worker

unit: ## What needs no cluster
	cargo test --locked -p sluice-crds -p sluice-pipeline -p sluice-model --lib

# Of each property; dear ones take a part of it.
CASES ?= 1000000

fuzz: ## Every parser with CASES cases of what it may be given (1000000)
	PROPTEST_CASES=$(CASES) cargo test --locked -p sluice-crds -p sluice-model -p sluice-pipeline -p sluice-receiver \
		-p sluice-telemetry -p sluice-worker --lib --test no_panic

# Those that go through the `unsafe` of `kafka`. One test at a time: each is some twenty times slower than without.
VALGRIND_TESTS ?= topics configs offsets producing batches visits unreachable
VALGRIND := valgrind --quiet --error-exitcode=1 --fair-sched=yes --num-callers=40 --leak-check=full \
	--show-leak-kinds=definite --errors-for-leak-kinds=definite --suppressions=$(CURDIR)/kafka/tests/valgrind.supp

valgrind: ## The `unsafe` of `kafka` under valgrind's memcheck, against a real broker
	@tests/cluster/prerequisites valgrind
	$(BUILD)
	trap '$(PROGRAMS)/sluice-cluster down --name $(SLUICE_TEST_CLUSTER)' EXIT; \
	$(PROGRAMS)/sluice-cluster up --name $(SLUICE_TEST_CLUSTER) --parts kafka; \
	cargo --config "target.'cfg(unix)'.runner='$(VALGRIND)'" test --locked --workspace --no-fail-fast \
		$(addprefix --test ,$(VALGRIND_TESTS)) -- --test-threads 1

lint: prerequisites ## Format, clippy, generated files, purity
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(BUILD) --quiet && $(PROGRAMS)/sluice-generate --check
	tests/purity

generate: ## Writes the CRD manifests, the API reference and the list of metrics
	$(BUILD) --quiet && $(PROGRAMS)/sluice-generate

prerequisites:
	@tests/cluster/prerequisites
