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

# Without openvino-telemetry, `import openvino` reports itself to nobody. Of NVIDIA's wheel only the server is wanted, none
# of its dependencies.
compile "${bookworm[@]}" --output-file deploy/docker/triton-cpu.lock --no-emit-package openvino-telemetry \
  deploy/triton/requirements.txt
grep --only-matching --max-count 1 'nvidia-pytriton==[0-9.]*' deploy/triton/requirements.txt \
  | compile "${bookworm[@]}" --no-deps --no-header - >> deploy/docker/triton-cpu.lock
