# Pointsman's build. `make` alone lists the targets.

PLUGINS := tiers peak-ewma json-rpc-retry http-retry
WASM    := wasm32-unknown-unknown
DIST    := plugins/dist
TARGET  := $(or $(CARGO_TARGET_DIR),target)
# Panic messages hold paths: they are made the same everywhere, so that a module's digest doesn't tell who built it.
CARGO_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)

.DEFAULT_GOAL := help
.PHONY: help setup build plugins run test soak bench bench-plots bench-micro instructions bench-faults large lint reference docs deny advisories notices clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# rustup doesn't add targets by itself everywhere, and libz-ng (under Pingora) is built with cmake.
setup: ## Set up what a build needs: the wasm target, cmake
	@command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }
	@command -v rustup >/dev/null && { rustup target list --installed | grep -qx $(WASM) || rustup target add $(WASM); } || true
	@test -d "$$(rustc --print target-libdir --target $(WASM))" || \
	  { echo "The Rust target $(WASM) is missing: run 'rustup target add $(WASM)'" >&2; exit 1; }
	@command -v cmake >/dev/null || ./scripts/install-package cmake "Pingora's zlib-ng needs it"

plugins: setup ## Build the shipped policies into plugins/dist
	cargo build --profile plugin --target $(WASM) $(addprefix -p ,$(PLUGINS)) \
	  --config "target.$(WASM).rustflags=['--remap-path-prefix=$(CARGO_DIR)=/cargo','--remap-path-prefix=$(CURDIR)=/pointsman']"
	@mkdir -p $(DIST)
	@for plugin in $(PLUGINS); do \
	  cp "$(TARGET)/$(WASM)/plugin/$$(echo $$plugin | tr - _).wasm" "$(DIST)/.$$plugin.tmp" && \
	  mv "$(DIST)/.$$plugin.tmp" "$(DIST)/$$plugin.wasm" || exit 1; \
	done

build: plugins ## Build target/release/pointsman and plugins/dist
	cargo build --release -p pointsman

run: build ## Build everything and run the demo
	target/release/pointsman demo --plugins $(DIST)

# The themes about clients' requests run once more, past the express lane, and those without raw bytes over TLS and
# over HTTP/2.
BOTH_LANES = answers:: bad_input:: batches:: connections:: framing:: ids:: lifecycle:: limits:: nonsense:: room:: slow_clients:: streams::
TLS_LANE = answers:: batches:: connections:: ids:: lifecycle:: limits:: nonsense:: slow_clients:: streams::
HTTP2_LANE = answers:: batches:: failover:: ids:: limits::

test: plugins ## Run every test, those with real Ethereum nodes and client libraries included
	@./scripts/install-nodes
	@./scripts/install-clients
	cargo test --workspace
	POINTSMAN_TEST_LANE=session cargo test -p pointsman --test e2e -- $(BOTH_LANES)
	POINTSMAN_TEST_LANE=tls cargo test -p pointsman --test e2e -- $(TLS_LANE)
	POINTSMAN_TEST_LANE=http2 cargo test -p pointsman --test e2e -- $(HTTP2_LANE)

bench: plugins ## Measure a whole request, beside other proxies (twenty minutes; ARGS="--quick")
	cargo build --release -p pointsman --example bare
	cargo bench -p pointsman --bench request -- $(ARGS)

bench-plots: ## Draw what the last `make bench` measured into docs/
	cargo bench -p pointsman --bench request -- --plot $(ARGS)

bench-micro: plugins ## Measure parts of a request, policy calls and reloads by themselves
	cargo bench -p pointsman --bench hot_path --bench decision --bench reload

instructions: plugins ## Count what parts of a request execute, and compare (ARGS=--record writes the counts down)
	@command -v valgrind >/dev/null || ./scripts/install-package valgrind "it counts the instructions"
	cargo bench --profile dev -p pointsman --bench hot_path -- instructions $(ARGS)

bench-faults: plugins ## Measure what clients see when endpoints fail, beside other proxies (six minutes; ARGS="--quick")
	cargo bench -p pointsman --bench faults -- $(ARGS)

soak: plugins ## Ten minutes of load while conf and plugins change all the time
	SOAK_SECONDS=600 cargo test -p pointsman --test soak -- --nocapture

large: build ## Bodies of 2 GiB through the release binary, and its memory
	LARGE_MIB=2048 POINTSMAN_TEST_BINARY=target/release/pointsman cargo test -p pointsman --test e2e -- --nocapture large::

lint: setup ## Formatting and clippy, as CI checks them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

reference: ## Write docs/reference.md and docs/pointsman.schema.json anew, from the types of the conf
	POINTSMAN_WRITE_REFERENCE=1 cargo test -p pointsman --lib config::schema

docs: setup ## Build the book into target/book, and check the links of all documents
	./scripts/mdbook build docs
	cargo test -p pointsman --test e2e -- documents::

deny: ## Licences, sources and bans of the dependencies (deny.toml); whether THIRD-PARTY-NOTICES.txt names them all
	./scripts/deny check licenses bans sources
	./scripts/notices --check

advisories: ## Known faults of the dependencies; fetches the database of advisories
	./scripts/deny check advisories

notices: ## Write THIRD-PARTY-NOTICES.txt anew (three minutes)
	./scripts/notices

clean: ## Remove what was built
	cargo clean
	rm -rf $(DIST)
