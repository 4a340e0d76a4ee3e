#!/usr/bin/env bash
# Generates the stubs of cellserve_proto from the contract. With --check: fails if the committed stubs differ.
# The virtual path gives the modules their import name, so `cellserve` stays free for the client library.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-../.venv/bin/python}
out=.
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
"$python" -m grpc_tools.protoc -Icellserve_proto/v1=cellserve/v1 \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" cellserve_proto/v1/segmentation.proto
if [ "$out" != . ]; then
  for stub in segmentation_pb2.py segmentation_pb2.pyi segmentation_pb2_grpc.py; do
    cmp "$out/cellserve_proto/v1/$stub" "cellserve_proto/v1/$stub" || { echo "stubs are stale: run 'make proto'" >&2; exit 1; }
  done
  echo "stubs are fresh"
fi
