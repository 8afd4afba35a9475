# What this project can do: `make help`.

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
IMAGE := localhost/fleet-connector:$(VERSION)
SENDER := localhost/vehicle-data-sender:$(VERSION)

.PHONY: help test check demo image image-local bench figures chaos fuzz

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

# The broker, its clients and Podman are installed if need be, so nothing may be skipped.
# The binary of the image takes minutes of one processor: it is built beside the rest.
# The test of the container does the same again, and says so if that fails. Most tests
# wait most of the time: more of them may run at once than there are processors.
test: ## Install what the tests need (Debian), check the sources, run all tests
	scripts/install-test-tools.sh
	nice scripts/build-static.sh target/image/out >/dev/null 2>&1 & \
	$(MAKE) check && FAIL_ON_SKIP=1 RUST_TEST_THREADS=4 cargo test --workspace; \
	status=$$?; wait; exit $$status

chaos: ## Break everything at random for CHAOS_SECONDS (60); CHAOS_SEED repeats a run
	CHAOS_SECONDS=$${CHAOS_SECONDS:-60} cargo test --test chaos -- --nocapture

fuzz: ## Fuzz all that reads input, FUZZ_SECONDS (600) each; needs cargo-fuzz and a nightly Rust
	scripts/fuzz.sh

check:
	scripts/install-test-tools.sh
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

demo: ## Run the connector between a broker and a simulated vehicle
	cargo run --package vehicle-simulator

image: ## Build the images in a container, from a registry
	podman build --tag $(SENDER) --target vehicle-data-sender .
	podman build --tag $(IMAGE) .

image-local: ## Build the images with the Rust of this machine, without a registry
	scripts/image-local.sh $(SENDER) target/image vehicle-data-sender
	scripts/image-local.sh $(IMAGE)

bench: ## Measure how close the connector runs to the floor
	cargo bench --bench speed
	cargo bench --bench streams

figures: ## Measure the figures of the README
	cargo bench --profile dev --bench figures
