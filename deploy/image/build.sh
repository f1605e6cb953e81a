#!/bin/sh
# Builds the image: deploy/image/build.sh [TAG].  Needs podman (or buildah's "bud" by ENGINE).
# Why a script: where no image can be pulled, the base is made first, from Debian's packages.
#
# BASE     a Debian 12 image to build on; "debootstrap" (root only) makes one; by default
#          debian:bookworm-slim if it can be had, else debootstrap
# MIRROR   where debootstrap takes packages from; this machine's own by default
set -eu
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${1:-localhost/ibdra:$version}
pulled=debian:bookworm-slim
made=localhost/ibdra-base:bookworm
made_by_hand() {
  podman image exists "$made" && return
  command -v debootstrap > /dev/null || {
    echo "build.sh: needs debootstrap: apt-get install debootstrap, or give BASE=IMAGE" >&2
    exit 77
  }
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mirror=${MIRROR:-$(sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \([^ []*\) .*/\1/p' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2> /dev/null | head -n 1)}
  # shellcheck disable=SC2086 # no mirror is no argument
  debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/root" $mirror \
    > "$folder/log" 2>&1 || { tail -n 20 "$folder/log" >&2; exit 1; }
  tar -C "$folder/root" -cf - . | podman import -q - "$made" > /dev/null
}

case ${BASE:-} in
  debootstrap) made_by_hand; BASE=$made ;;
  "") if podman pull -q "$pulled" > /dev/null 2>&1; then BASE=$pulled; else made_by_hand; BASE=$made; fi ;;
esac

# A build behind a company's proxy needs its certificates and pip's settings; neither stays.
set -- -v /etc/ssl/certs:/etc/ssl/certs:ro
[ ! -f /etc/pip.conf ] || set -- "$@" -v /etc/pip.conf:/etc/pip.conf:ro
# The commit is a label of its own: of an argument that only a LABEL uses, Podman 4 takes the
# value that an earlier build had.
exec podman build -q --network host --isolation chroot "$@" \
  --build-arg "BASE=$BASE" --build-arg "VERSION=$version" \
  --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)" \
  -t "$tag" .
