#!/usr/bin/env bash
# Writes the locks of the images anew: every package with its version and the SHA-256 of its wheels. Needs uv (pip install
# uv) and Python 3.11 or later. What is locked already stays where it is, unless --upgrade is given.
set -euo pipefail
cd "$(dirname "$0")/../.."

options=("$@")

# Python and C library of each base. The C library of trixie is 2.41; the newest one that uv knows is 2.40.
bookworm=(--python-version 3.11 --python-platform x86_64-manylinux_2_36)
trixie=(--python-version 3.13 --python-platform x86_64-manylinux_2_40)

# No address of an index, nothing to be compiled.
compile() {
  uv pip compile --quiet --only-binary :all: --generate-hashes --no-annotate \
    --custom-compile-command deploy/docker/lock.sh "${options[@]}" "$@"
}

compile "${trixie[@]}" --output-file deploy/docker/gateway.lock --extra gateway --extra tracing pyproject.toml

# What builds this repository's wheel, in the gateway's image.
python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
  | compile "${trixie[@]}" --output-file deploy/docker/build.lock -

compile "${bookworm[@]}" --no-deps --output-file deploy/docker/triton-cpu.lock deploy/triton/requirements.txt
