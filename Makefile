# The commands everybody needs; `make help` lists them. Recipes stay one line each: what takes more is a script.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run test check bench setup

help: ## Lists the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

run: setup ## Installs what is missing, builds a release, serves with a database of its own
	@cargo build --release --locked
	@exec $(TARGET_DIR)/release/keystile serve

test: setup ## Installs what is missing, runs every test
	@cargo test --locked

check: ## Formatting, lints, documentation: no warning passes
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

bench: setup ## The benchmarks; each result is also one JSON line on stdout
	@cargo bench --locked --bench core
	@cargo bench --locked --bench listing
	@cargo bench --locked --bench throughput
	@cargo bench --locked --bench throughput -- --scenario open-loop,skew,keys,batch,stream,cold,flood,revoke,growth,limits,hot,first-limited,work

setup: ## Installs PostgreSQL's server programs unless they are there
	@deploy/install-postgres.sh
