# `make test` is all a newcomer needs: it installs what is missing, starts the servers, runs every test, and stops the servers.

TESTS := $(if $(shell command -v cargo-nextest),cargo nextest run --no-fail-fast,cargo test --no-fail-fast)

.PHONY: test check kernels emulate prove

test:
	infra/services install
	cargo build --locked --workspace --bins --tests
	infra/services with infra/.run/test $(TESTS) --locked --workspace

check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

# Kernels to machine code again, after a change of their sources; fetches the compiler's wheel with pip. `make test` compares hashes only.
kernels:
	cargo run --locked --package xtask -- cubin

# Every kernel on the host, against sums in doubles; needs g++ alone.
emulate:
	cargo run --locked --package xtask -- emulate

# The long proofs: `make prove` runs them all, `make prove/NAME` one; each writes docs/figures/NAME.json.
prove: prove/documents prove/formats prove/many-chats prove/large-file prove/prefix prove/schemas prove/speculation prove/hostile prove/faults prove/fuzz

# OpenAI's own client is part of this one.
prove/faults:
	infra/services install
	cargo build --locked --release --package millrace
	infra/services with infra/.run/prove infra/.run/venv/bin/python tests/prove/faults.py

prove/%:
	infra/services install
	cargo build --locked --release --package millrace --package tests --bins
	infra/services with infra/.run/prove target/release/prove $*
