# List the recipes
default:
    @just --list

# Train a small network on made-up studies
demo *ARGS:
    cargo run --release -- --demo {{ARGS}}

# Run the tests
test *ARGS:
    cargo test --locked {{ARGS}}

# Check formatting and lints
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Check the documentation's links, and build the book if mdbook is installed
docs:
    python3 docs/check.py
    @if command -v mdbook >/dev/null; then mdbook build docs; else echo "mdbook is not installed: no book built"; fi

# Check the cuda feature without a GPU
cuda:
    .ci/cuda
