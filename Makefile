# `make help` lists the targets.

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
IMAGE := localhost/fleet-connector:$(VERSION)
SENDER := localhost/vehicle-data-sender:$(VERSION)

PLATFORM_OPTION := $(if $(PLATFORM),--platform $(PLATFORM))

# The data for an incremental build takes a fifth of the time in which the members are compiled: a target
# directory without such data gets none. Cargo creates the folder in any case: only its content counts.
ifeq ($(wildcard $(or $(CARGO_TARGET_DIR),target)/debug/incremental/*),)
export CARGO_INCREMENTAL ?= 0
endif

.PHONY: help test check check-contract deny advisories demo image image-local ank-fleet man bench figures chaos fuzz \
	cluster test-cluster chaos-cluster cluster-rmqtt test-cluster-rmqtt fleet-load bench-fleet

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24

# All tools are installed, so no test may be skipped. Tests mostly wait, so more of them run at a time than
# there are cores. The release build for the image takes minutes of CPU time and runs beside the build of
# the tests and the tests. The container test runs the same build again and reports its errors. On two cores,
# it had to wait for a build with nice 19, and one with nice 0 was done a minute early. The shell lets jobs in
# the background ignore Ctrl-C; `env` undoes that.
test: ## Install test tools (Debian), check the sources, run all tests
	$(MAKE) check
	env --default-signal=INT,QUIT nice -n 3 scripts/build-static.sh target/image/out >/dev/null 2>&1 & \
	FAIL_ON_SKIP=1 RUST_TEST_THREADS=20 cargo test --workspace; \
	status=$$?; wait; exit $$status

chaos: ## Inject random faults for CHAOS_SECONDS (60); CHAOS_SEED repeats a run
	CHAOS_SECONDS=$${CHAOS_SECONDS:-60} cargo test --test chaos -- --nocapture

fuzz: ## Run all fuzz targets, FUZZ_SECONDS (600) each; needs cargo-fuzz and a nightly Rust
	scripts/fuzz.sh

cluster: ## Start a cluster of three RabbitMQ nodes to try (Debian, root); scripts/cluster.sh down stops it
	scripts/cluster.sh up

# The programs are built before the cluster starts: it would have to wait for the compiler.
test-cluster: ## Run the tests on a cluster of three RabbitMQ nodes, which it starts and stops
	cargo build --package ank-fleet
	cargo test --test cluster --no-run
	FAIL_ON_SKIP=1 scripts/cluster.sh run cargo test --test cluster

chaos-cluster: ## Kill, cut off and suspend nodes for CHAOS_SECONDS (600); CHAOS_SEED repeats a run
	cargo test --test cluster --no-run
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} scripts/cluster.sh run \
		cargo test --test cluster -- --nocapture chaos

cluster-rmqtt: ## Build RMQTT and start a cluster of three nodes to try; scripts/cluster-rmqtt.sh down stops it
	scripts/cluster-rmqtt.sh up

# What RMQTT cannot do is not run on it; each of these tests says why.
test-cluster-rmqtt: ## Run those tests on a cluster of three RMQTT nodes that this engine can pass
	scripts/cluster-rmqtt.sh build
	cargo build --package ank-fleet
	cargo test --test cluster --no-run
	FAIL_ON_SKIP=1 scripts/cluster-rmqtt.sh run cargo test --test cluster

# Only musl-mem has code of its own for a processor, so it is checked for the other one too.
check:
	scripts/install-test-tools.sh
	scripts/check-rust-version.sh
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	cargo run --quiet --package circles
	scripts/install-rust-target.sh aarch64-unknown-linux-musl
	cargo check --quiet --package musl-mem --target aarch64-unknown-linux-musl

check-contract: ## Check docs/asyncapi.yaml, alerts and dashboards; installs Node.js and promtool (Debian)
	scripts/check-contract.sh

deny: ## Check versions, licences and sources of the dependencies; installs cargo-deny
	scripts/deny.sh

advisories: ## Check the dependencies for known vulnerabilities; downloads the advisory database
	scripts/deny.sh advisories

demo: ## Run the connector with a broker and a simulated vehicle
	cargo run --package vehicle-simulator

image: ## Build the images in a container; needs a registry; PLATFORM=linux/arm64: for arm64
	podman build $(PLATFORM_OPTION) --tag $(SENDER) --target vehicle-data-sender .
	podman build $(PLATFORM_OPTION) --tag $(IMAGE) .

# TARGET reaches the scripts through the environment.
image-local: ## Build the images with the Rust of this machine; TARGET=aarch64-unknown-linux-musl: for arm64
	scripts/image-local.sh $(SENDER) target/image vehicle-data-sender
	scripts/image-local.sh $(IMAGE)

ank-fleet: ## Build a static ank-fleet into target/ank-fleet; TARGET as above
	scripts/build-static.sh target/ank-fleet ank-fleet

man: ## Write the man pages of ank-fleet into target/man
	cargo run --quiet --package ank-fleet -- man target/man

bench: ## Measure latency and throughput
	cargo bench --bench speed
	cargo bench --bench streams
	cargo bench --bench revisions
	cargo bench --bench trust
	cargo bench --package ank-fleet --bench vehicles

fleet-load: ## Run VEHICLES (1000) connectors with simulated vehicles; MQTT_BROKER_ADDR: on that broker
	cargo run --profile bench --package fleet-load -- run --vehicles $(or $(VEHICLES),1000)

# Nothing else should run on the machine. FIGURES: more arguments, see `fleet-load figures --help`.
bench-fleet: ## Measure fleets of 100, 1,000 and 10,000 vehicles, and draw docs/scale; half an hour
	cargo build --profile bench --package fleet-load --package ank-fleet
	target/release/fleet-load figures $(FIGURES)
	target/release/fleet-load charts

figures: ## Measure image size, memory and start time for the README
	cargo bench --profile dev --bench figures
