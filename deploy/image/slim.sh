#!/bin/sh
# Takes out of a root what ibdra never opens, and compiles what stays.
# Why a script: each line says what goes and why that is safe, and the build fails with it.
set -eu

root=$1
packages=$root/usr/lib/ibdra/lib/python3.11/site-packages

# The Kubernetes client for asyncio, and the typed API and models: ibdra sends and reads JSON of
# its own through kubernetes.client.api_client. The packages' own __init__ load them when asked.
rm -rf "$packages/kubernetes/aio"
find "$packages/kubernetes/client/api" "$packages/kubernetes/client/models" \
  -name '*.py' ! -name '__init__.py' -delete

# C and Cython sources beside their shared objects, stubs for type checkers, tests of packages.
find "$packages" \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \
  -o -name '*.pyi' \) -delete
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +

# Debian's books, words and logs; a package manager has nothing to do in a running container.
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info \
  "$root"/usr/share/locale "$root"/usr/share/i18n "$root"/usr/share/zoneinfo \
  "$root"/var/lib/apt "$root"/var/cache "$root"/var/log "$root"/var/lib/dpkg/info \
  "$root"/etc/apt "$root"/usr/lib/apt "$root"/usr/bin/apt* "$root"/tmp
mkdir -m 1777 "$root/tmp"

# What the build mounted: pip's settings and the machine's certificates. API servers are verified
# with the cluster's own authority, or with certifi's list.
rm -rf "$root/etc/pip.conf" "$root/etc/ssl/certs" "$root/usr/share/ca-certificates"

# Bytecode is part of the image: its file system is read-only, and a start should not compile.
# Checked by nothing: layers and runtimes change times, and nobody edits an image's sources.
find "$root/usr/lib/python3.11" "$packages" -depth -name __pycache__ -exec rm -rf {} +
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$root" \
  "$root/usr/lib/python3.11" "$packages"
