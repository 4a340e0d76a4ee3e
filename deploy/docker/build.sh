#!/usr/bin/env bash
# Builds container images with buildah, where no container engine runs: as root, on Debian or a relative of it.
#
#   deploy/docker/build.sh                                  gateway and triton-cpu, each on a base made with debootstrap
#   BASE=debian:trixie-slim deploy/docker/build.sh gateway  one image on a base from a registry
#   deploy/docker/build.sh triton-gpu                       on NVIDIA's container, or BASE
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' pyproject.toml)
export BUILDAH_LAYERS=${BUILDAH_LAYERS:-true} # keeps every step, so that what has not changed is not built again
scratch=$(mktemp -d)
container=
trap '[ -z "$container" ] || buildah rm "$container" > /dev/null; rm -rf "$scratch"' EXIT

fail() { echo "build.sh: $*" >&2; exit 1; }

need() {
  command -v "$1" > /dev/null || fail "$1 is missing: apt-get install buildah debootstrap"
}

# A repository that this machine's apt uses: the first with the given label.
apt_repository() {
  # shellcheck disable=SC2016 # apt-get fills the field in
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Label: $1" | sed -n 1p
}

# The release of Debian that a Dockerfile names as its base; nothing for another base.
debian_suite() {
  sed -n 's/^ARG BASE=debian:\([a-z]*\)-slim$/\1/p' "$1"
}

# Debian's minimal system of the given release under the given name, without what its own slim images leave out, and
# without a trace of this machine.
make_base() {
  need debootstrap
  local suite=$1 name=$2 mirror security root
  mirror=$(apt_repository Debian)
  security=$(apt_repository Debian-Security)
  [ -n "$mirror" ] || fail "apt is not configured for Debian: give BASE, an image of Debian $suite"
  container=$(buildah from scratch)
  root=$(buildah mount "$container")
  debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$scratch/debootstrap.log" \
    || { cat "$scratch/debootstrap.log" >&2; fail "debootstrap failed"; }
  cat > "$root/etc/apt/sources.list" <<EOF
deb $mirror $suite main
deb $mirror $suite-updates main
${security:+deb $security $suite-security main}
EOF
  cat > "$root/etc/dpkg/dpkg.cfg.d/slim" <<'EOF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
EOF
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$container"
  buildah run --isolation chroot --env DEBIAN_FRONTEND=noninteractive "$container" -- \
    sh -c 'apt-get update && apt-get dist-upgrade --yes' > "$scratch/upgrade.log" 2>&1 \
    || { cat "$scratch/upgrade.log" >&2; fail "the base could not be upgraded"; }
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "$root"/usr/share/{info,locale,man}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*
  : > "$root/etc/hostname"
  : > "$root/etc/resolv.conf"
  buildah commit --quiet --format docker "$container" "$name" > /dev/null
  buildah rm "$container" > /dev/null
  container=
}

# How this machine's pip reaches an index; its folders (file:) mean nothing inside of a build.
pip_secrets() {
  local listed authority
  listed=$(python3 -m pip config list 2> /dev/null) || listed= # what the environment says comes first; no pip, no settings
  authority=$(sed -nE "s/^(:env:|global)\.cert='(.*)'$/\2/p" <<< "$listed" | sed -n 1p)
  {
    echo "[global]"
    sed -nE "s/^(:env:|global)\.(index-url|extra-index-url|proxy|timeout|trusted-host)='(.*)'$/\2 = \3/p" <<< "$listed" \
      | sed -E '/= .*file:/d; s/\\n/ /g' | awk '!seen[$1]++'
    [ -z "$authority" ] || echo "cert = /etc/pip-ca.pem"
  } > "$scratch/pip.conf"
  secrets=(--secret "id=pip.conf,src=$scratch/pip.conf")
  [ -z "$authority" ] || secrets+=(--secret "id=ca.pem,src=$authority")
}

[ "$(id -u)" = 0 ] || fail "root is needed: a base is mounted, and builds change into it"
need buildah
images=("$@")
if [ $# = 0 ]; then
  [ -z "${BASE:-}" ] || fail "the images have different bases: name the image that BASE is for"
  images=(gateway triton-cpu)
fi
pip_secrets
for image in "${images[@]}"; do
  file=deploy/docker/$image.Dockerfile
  [ -f "$file" ] || fail "there is no $file"
  base=${BASE:-}
  suite=$(debian_suite "$file")
  if [ -z "$base" ] && [ -n "$suite" ]; then
    base=localhost/cellserve-base:$suite
    buildah inspect --type image "$base" > /dev/null 2>&1 || { echo "making $base"; make_base "$suite" "$base"; }
  fi
  echo "building cellserve/$image:$version"
  # Docker's format, since OCI's has no HEALTHCHECK.
  buildah build --quiet --isolation chroot --format docker --file "$file" --ignorefile "$file.dockerignore" \
    ${base:+--build-arg "BASE=$base"} --build-arg "VERSION=$version" "${secrets[@]}" \
    --tag "cellserve/$image:$version" . > "$scratch/build.log" 2>&1 \
    || { cat "$scratch/build.log" >&2; fail "$image was not built"; }
done
buildah images --format '{{.Name}}:{{.Tag}}  {{.Size}}' --filter "reference=cellserve/*:$version"
