# `make help` lists the targets. Each installs what it needs and this machine lacks.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO ?= cargo
DENY := .tools/bin/cargo-deny --log-level error

.PHONY: help demo test check bench fuzz miri
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

# What cargo-fuzz sets, so that no more than a nightly compiler is needed.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
	--cfg fuzzing -Zsanitizer=address -Ccodegen-units=1
FUZZ_TARGET := $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: ## every fuzz target for a minute, or SPAN seconds
	@.ci/setup fuzz
	cd fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) +nightly build --locked --release --target $(FUZZ_TARGET)
	@for target in decode envelope rules; do mkdir -p "fuzz/corpus/$$target"; \
	"$${CARGO_TARGET_DIR:-fuzz/target}/$(FUZZ_TARGET)/release/$$target" -max_total_time="$${SPAN:-60}" -max_len=16384 -timeout=10 \
	-rss_limit_mb=4096 -artifact_prefix="fuzz/$$target-" "fuzz/corpus/$$target" tests/data/genuine rules; done

miri: ## the tests of the module with unsafe code, in an interpreter that checks every access
	@.ci/setup miri
	cd tests/miri && MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --locked --lib
	cd tests/miri && MIRIFLAGS=-Zmiri-disable-isolation RUSTFLAGS="-Ctarget-feature=+avx2,+popcnt" $(CARGO) +nightly miri test --locked --lib --target x86_64-unknown-linux-gnu
	cd tests/miri && MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --locked --lib --target s390x-unknown-linux-gnu
