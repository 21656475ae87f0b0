#!/usr/bin/env bash
# The same commit gives the same bytes: same-bytes.sh VERSION DIST builds it again in
# a clone at another path, with another umask, time zone and language, and compares.
# COLD=yes also takes no compiled package from before, which takes its time.
set -euo pipefail
version=$1 dist=$2
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone/somewhere else"
mkdir "$clone/somewhere else/packaging/.build"
cp -r packaging/.build/*@* "$clone/somewhere else/packaging/.build"
umask 077
export TZ=Asia/Tokyo LANG=C.UTF-8
[ "${COLD:-}" = "" ] || export GOCACHE=$clone/cache
"$clone/somewhere else/packaging/release.sh" "$version" "$clone/dist" >/dev/null
diff "$dist/SHA256SUMS" "$clone/dist/SHA256SUMS"
(cd "$clone/dist" && sha256sum --quiet --check SHA256SUMS)
echo "$(wc -l <"$dist/SHA256SUMS") files are the same"
