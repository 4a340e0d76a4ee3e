#!/bin/sh
# Installs Imaging Server Kit (tests/kit/requirements.txt) in build/kit, for the tests. The development environment has the
# packages that the kit shares with it, and stays as it is.
set -eu
cd "$(dirname "$0")/.."

wanted=tests/kit/requirements.txt
if ! cmp -s "$wanted" build/kit/installed.txt; then
    rm -rf build/kit
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -c constraints.txt \
        --target build/kit -r "$wanted"
    cp "$wanted" build/kit/installed.txt
fi
