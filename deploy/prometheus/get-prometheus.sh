#!/usr/bin/env bash
# Puts prometheus and promtool into build/tools: links to those on the search path, else the Debian package, unpacked there (nothing is
# installed, no root needed).
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=build/tools
mkdir -p "$tools"
for program in prometheus promtool; do
    if [ ! -x "$tools/$program" ] && found=$(command -v "$program"); then
        ln -sf "$found" "$tools/$program"
    fi
done
if [ ! -x "$tools/prometheus" ] || [ ! -x "$tools/promtool" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
        echo "promtool is not on the search path: install Prometheus 2.40 or newer (its Debian package is prometheus)" >&2
        exit 1
    }
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    # Of a package list that is out of date, the file may be gone.
    (cd "$scratch" && { apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; })
    dpkg-deb -x "$scratch"/prometheus_*.deb "$scratch"
    mv "$scratch/usr/bin/prometheus" "$scratch/usr/bin/promtool" "$tools"
fi
"$tools/promtool" --version 2>&1 | head -1
