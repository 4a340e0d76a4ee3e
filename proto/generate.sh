#!/usr/bin/env bash
# Generates what follows from the contract and from cellserve_contract: stubs and keywords.
# With --check: fails if a committed file differs, or if the contract breaks that of a release (releases/VERSION.binpb).
# With --freeze: writes the contract as that of the version in pyproject.toml.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-../.venv/bin/python}
buf=$(dirname "$python")/buf
[ -x "$buf" ] || buf=buf
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [ "${1:-}" = --freeze ]; then
  version=$("$python" -c 'import tomllib; print(tomllib.load(open("../pyproject.toml", "rb"))["project"]["version"])')
  "$buf" build --exclude-source-info -o "releases/$version.binpb"
  exit
fi

# The stubs live in cellserve_proto, so that `cellserve` stays free for the client library.
"$python" -m grpc_tools.protoc -I. -Ithird_party --python_out="$scratch" --pyi_out="$scratch" --grpc_python_out="$scratch" cellserve/v1/*.proto
stubs=$scratch/cellserve_proto/v1
mkdir -p "$stubs"
mv "$scratch"/cellserve/v1/*_pb2.py "$scratch"/cellserve/v1/*_pb2.pyi "$scratch"/cellserve/v1/segmentation_pb2_grpc.py "$stubs"
sed -i -E -e 's/^(from|import) cellserve\.v1/\1 cellserve_proto.v1/' -e "s/'cellserve\.v1\.(\w+_pb2)'/'cellserve_proto.v1.\1'/" "$stubs"/*
PYTHONPATH=. "$python" -m cellserve_contract.generate "$scratch"

if [ "${1:-}" = --check ]; then
  "$buf" lint
  "$buf" build --exclude-source-info -o "$scratch/contract.binpb"
  for release in releases/*.binpb; do
    "$buf" breaking "$scratch/contract.binpb" --against "$release"
  done
  stale() { echo "$1 is stale: run 'make proto'" >&2; exit 1; }
  for stub in cellserve_proto/v1/*_pb2* "$stubs"/*; do
    cmp "$stubs/$(basename "$stub")" "cellserve_proto/v1/$(basename "$stub")" || stale "$stub"
  done
  cmp "$scratch/fields.py" cellserve_contract/fields.py || stale fields.py
  echo "stubs and keywords are fresh"
else
  rm -f cellserve_proto/v1/*_pb2*
  cp "$stubs"/* cellserve_proto/v1
  cp "$scratch/fields.py" cellserve_contract
fi
