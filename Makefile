# Sluice: see README.md. Expensive builds stay outside the checkout, in $(SLUICE_CACHE).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export SLUICE_CACHE ?= $(HOME)/.cache/sluice
export CARGO_TARGET_DIR ?= $(SLUICE_CACHE)/target

CLUSTER := cargo run --quiet --locked -p sluice-cluster --
PROGRAMS := -p sluice-operator -p sluice-receiver -p sluice-worker -p sluice-example-ledger

.PHONY: help demo demo-down test unit lint generate prerequisites

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: prerequisites ## From nothing to a webhook that travels to an API
	@echo "Building Sluice (the first time takes some minutes)"
	@cargo build --quiet --locked $(PROGRAMS) -p sluice-cluster -p sluice-suite
	@cargo run --quiet --locked -p sluice-suite --bin demo

demo-down: ## Stops the demo's cluster and leaves nothing behind
	@$(CLUSTER) down --name demo

test: prerequisites ## Every test, on the real components
	cargo build --locked $(PROGRAMS) -p sluice-cluster
	trap '$(CLUSTER) down --name test' EXIT; cargo test --locked --workspace --no-fail-fast

unit: ## What needs no cluster
	cargo test --locked -p sluice-crds -p sluice-pipeline -p sluice-model --lib

lint: prerequisites ## Format, clippy, generated files, purity
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo run --quiet --locked -p sluice-crds --bin sluice-generate -- --check
	tests/purity

generate: ## Writes the CRD manifests and the API reference from the types
	cargo run --quiet --locked -p sluice-crds --bin sluice-generate

prerequisites:
	@tests/cluster/prerequisites
