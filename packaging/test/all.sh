#!/usr/bin/env bash
# Makes a release twice and compares, and then installs and runs what is in it. It
# needs root, a Debian with systemd-analyze, lintian, debootstrap, rpm, buildah,
# podman, runc, mandoc, strace and curl, and a kapacitord (see image.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { printf '\n== %s (%ds)\n' "$*" "$SECONDS"; }

step 'a release'
packaging/release.sh 1.2.3 "$work/dist"

step 'the same one, elsewhere'
packaging/test/same-bytes.sh 1.2.3 "$work/dist"

step 'a newer one, whose outbox has a newer format'
file=$(grep -l '^const formatVersion = ' outbox/*.go)
sed 's/^const formatVersion = .*/const formatVersion = 99/' "$file" >"$work/newer.go"
printf '{"Replace": {"%s": "%s"}}' "$PWD/$file" "$work/newer.go" >"$work/overlay.json"
GOFLAGS="-overlay=$work/overlay.json" packaging/release.sh 1.3.0 "$work/newer" linux/amd64

go build -o "$work/points" ./packaging/test/points
for what in units deb rpm image; do
	step "$what"
	timeout 900 packaging/test/$what.sh "$work" # what waits there waits for good
done
step 'all passed'
