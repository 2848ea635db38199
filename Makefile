# Each target is one or two commands, which also run by hand. `make` alone lists the targets.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint style lints unit it bench torture fuzz book up down tools java

TEST ?=
BENCH ?=
ROUNDS ?= 30
INPUTS ?= 10000000
KEEP ?=
SEED ?=

# $(call need,PROGRAM,INSTALL COMMAND)
need = command -v $(1) >/dev/null || { echo "$(1) is missing; install it with: $(2)" >&2; exit 1; }

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools java ## demo on real servers, in one to two minutes; KEEP=1 leaves them running
	cargo build --workspace
	@cargo run --quiet --bin demo -- $(if $(KEEP),--keep)

# One compile for all three: clippy's driver is rustc with lints, so `unit` and `it` run the
# binaries that `lints` compiles. (`cargo clippy` would check every dependency a second time.)
# Warnings fail, as in `lint`.
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test: export CLIPPY_ARGS = -D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
test: style lints unit it ## lint, unit and integration tests

lint: style ## formatting, clippy, house rules, and cargo-deny if it is installed
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace --lib house::

style: tools
	cargo fmt --all --check
	@if command -v cargo-deny >/dev/null; then cargo deny check; else \
		echo "cargo-deny is not installed, so licences and advisories are not checked: cargo install cargo-deny"; fi

lints:
	cargo test --workspace --all-targets --no-run

unit: tools ## unit tests, without servers
	cargo test --workspace --lib --bins

it: tools java ## integration tests on real servers; TEST=prefix selects some
	cargo build --workspace
	cargo test --workspace --test it -- $(TEST)

bench: tools java ## benchmarks against peers, reports in target/bench; BENCH=prefix selects some
	cargo build --release --workspace
	cargo bench --workspace --bench bench -- $(BENCH)

torture: tools java ## long kill tests, reports in target/torture; TEST=prefix ROUNDS=30 SEED=number
	cargo build --release --workspace
	@cargo run --quiet --release --bin torture -- --test "$(TEST)" --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

fuzz: tools ## random damages of person indexes; INPUTS=10000000 SEED=number
	FUZZ_INPUTS=$(INPUTS) $(if $(SEED),SEED=$(SEED)) cargo test --profile fuzz --package posthouse-udf --lib damaged_index -- --nocapture

book: ## the documentation as a book, in target/book
	@$(call need,mdbook,cargo install mdbook)
	mdbook build

up: tools java ## an empty stack, until Ctrl-C or `make down`
	cargo build --workspace
	@cargo run --quiet --bin stack -- up

down: tools ## stop the stack of `make up` or `make demo KEEP=1`
	@cargo run --quiet --bin stack -- down

tools:
	@$(call need,cargo,curl --proto '=https' -sSf https://sh.rustup.rs | sh)
	@$(call need,cc,apt-get install -y build-essential (macOS: xcode-select --install))
	@pkg-config --exists openssl 2>/dev/null || [ -e /usr/include/openssl/ssl.h ] || [ -n "$$OPENSSL_DIR" ] || { \
		echo "OpenSSL's headers are missing; install them with: apt-get install -y libssl-dev pkg-config (macOS: brew install openssl@3 pkg-config), or compile OpenSSL from source with: cargo build --features posthouse/vendored-openssl" >&2; exit 1; }

# Other tools of the servers are checked when they start. A missing one is named with its install
# command.
java:
	@$(call need,java,apt-get install -y openjdk-17-jre-headless (macOS: brew install openjdk))
