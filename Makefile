# `make help` lists the targets. Each installs what it needs and this machine lacks.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO ?= cargo
DENY := .tools/bin/cargo-deny --log-level error

.PHONY: help demo test check bench
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 15

demo: ## builds a release binary, then shows it at work on a genuine audit log, until Ctrl-C
	@.ci/setup build
	@demo/demo.sh

test: check ## make check, then every test
	$(CARGO) test --locked

check: ## format, lints with and without the optional features, licences and advisories of the dependencies
	@.ci/setup check
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(DENY) --locked check licenses bans sources
	@if $(DENY) fetch db 2>/dev/null; then $(DENY) --locked check advisories; \
	else echo "check: the advisory database cannot be had, so the advisories are not checked"; fi

bench: ## every benchmark, optimised, then the table of promises with its peers beside
	@.ci/setup build
	@.ci/setup peers
	$(CARGO) bench --locked --bench '*'
	@queries=$$($(CARGO) bench --locked --bench queries --no-run --message-format json 2>/dev/null | \
		sed -n 's/.*"name":"queries".*"executable":"\([^"]*\)".*/\1/p'); \
	python3 benches/table/table.py "$${CARGO_TARGET_DIR:-target}/release/kustos" "$${CORPUS:-tests/data/audit-sample.log}" "$$queries"
