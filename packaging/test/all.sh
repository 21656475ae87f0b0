#!/usr/bin/env bash
# Makes a release twice and compares, and then installs and runs what is in it. It
# needs root, a Debian with systemd-analyze, lintian, debootstrap, rpm, buildah,
# podman, runc, mandoc, strace and curl, and a kapacitord (see image.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'wait; rm -rf "$work"' EXIT # what runs beside ends by itself
step() { printf '\n== %s (%ds)\n' "$*" "$SECONDS"; }
run() { timeout 900 "packaging/test/$1.sh" "${@:2}"; } # what waits there waits for good

# The throw-away Debian of deb.sh and rpm.sh, once.
debian() {
	local base=packaging/.build/bookworm
	[ ! -d "$base" ] || return 0
	rm -rf "$base.new"
	debootstrap --variant=minbase bookworm "$base.new" >"$work/debootstrap.log"
	mv "$base.new" "$base"
}

newer() {
	file=$(grep -l '^const formatVersion = ' outbox/*.go)
	sed 's/^const formatVersion = .*/const formatVersion = 99/' "$file" >"$work/newer.go"
	printf '{"Replace": {"%s": "%s"}}' "$PWD/$file" "$work/newer.go" >"$work/overlay.json"
	GOFLAGS="-overlay=$work/overlay.json" packaging/release.sh 1.3.0 "$work/newer" linux/amd64
}

built() {
	step 'the same one, elsewhere'
	run same-bytes 1.2.3 "$work/dist"
	step image
	run image "$work"
}

installed() {
	step units
	run units "$work"
	step 'a newer one, whose outbox has a newer format'
	newer
	step deb
	run deb "$work"
	step rpm
	run rpm "$work"
}

mkdir -p packaging/.build
debian &
debian=$!
step 'a release'
packaging/release.sh 1.2.3 "$work/dist"
go build -o "$work/points" ./packaging/test/points
(cd stream/test && go build -o "$work/nats-server" github.com/nats-io/nats-server/v2)
dpkg -x "$work"/dist/bigpanda-udf_*_amd64.deb "$work/unpacked"
wait "$debian"

# Each half keeps about one processor busy: they run side by side, and the second one's
# lines are shown when it has ended.
built >"$work/built.log" 2>&1 &
built=$!
installed
step 'what ran beside it'
wait "$built" || failed=yes
cat "$work/built.log"
[ -z "${failed:-}" ]
step 'all passed'
