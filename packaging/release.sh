#!/usr/bin/env bash
# Makes a release of the commit that is checked out: deb, rpm, archives, the image,
# their SBOMs and checksums. The same commit gives the same bytes, with the same Go.
#
#   packaging/release.sh VERSION [FOLDER [PLATFORM…]]     (make release VERSION=1.2.3)
#
# Of some platforms alone there is no image. The packages' maintainer is the commit's
# author, or MAINTAINER. It needs Go, git, GNU tar and buildah; what else it uses it
# builds into packaging/.build.
set -euo pipefail
version=${1:?which version? make release VERSION=1.2.3}
out=$(realpath -m "${2:-dist/$version}")
cd "$(dirname "$0")/.."

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
roots=golang.org/x/crypto/x509roots/fallback@v0.0.0-20261030153154-30a33513ff6d
platforms=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64)

wanted=("${@:3}")
[ ${#wanted[@]} -gt 0 ] || wanted=("${platforms[@]}")

if ! [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
	echo "the version is \"$version\": write one such as 1.2.3" >&2
	exit 2
fi
if [ -n "$(git status --porcelain)" ]; then
	echo 'there is what was not committed: a release is of a commit' >&2
	exit 1
fi
umask 022
export LC_ALL=C TZ=UTC CGO_ENABLED=0
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
date=$(date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
export SOURCE_DATE_EPOCH VERSION=$version DATE=$date
export MAINTAINER=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"

# tool builds a program of a module at a version, once, and prints its path.
tool() {
	local folder=$PWD/packaging/.build/${1##*/}
	[ -d "$folder" ] || GOBIN=$folder go install "$1" >&2
	echo "$folder"/*
}

# archive packs a folder, always into the same bytes.
archive() {
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar \
		-C "$(dirname "$1")" -c "$(basename "$1")"
}

nfpm=$(tool "$nfpm")
cyclonedx=$(tool "$cyclonedx")
go build -o "$work/gen" ./packaging/gen

# What is in every package, whatever the platform.
common=$work/common
mkdir -p "$common"/{man,completions,doc}
"$work/gen" man "$version" "${date%T*}" "$common/man"
"$work/gen" completions "$common/completions"
git ls-files README.md CHANGELOG.md LICENSE kapacitor.conf.snippet examples monitoring docs ':!docs/screenshots' ':!monitoring/dashboard' |
	xargs cp --parents -t "$common/doc"

for platform in "${wanted[@]}"; do
	export GOOS=${platform%/*} GOARCH=${platform#*/}
	name=bigpanda-udf_${version}_${GOOS}_$GOARCH
	echo "== $name (${SECONDS}s)"
	stage=$work/$name program=bigpanda-udf
	[ "$GOOS" != windows ] || program=bigpanda-udf.exe
	cp -r "$common" "$stage"
	go build -trimpath -buildvcs=false -o "$stage/$program" -ldflags "-s -w \
		-X bigpanda-udf/cli.Version=$version -X bigpanda-udf/cli.Commit=$commit -X bigpanda-udf/cli.Date=$date" .
	"$work/gen" licences "$stage/$program" >"$stage/doc/LICENSES-OF-MODULES"
	"$cyclonedx" bin -json -noserial -notimestamp -std -version "v$version" "$stage/$program" |
		"$work/gen" sbom >"$out/$name.cdx.json"
	[ "$GOOS" != linux ] || cp -r packaging/systemd "$stage"
	archive "$stage" | gzip -n9 >"$out/$name.tar.gz"
	[ "$GOOS" != linux ] || packaging/package.sh "$nfpm" "$stage" "$out"
done
unset GOOS GOARCH

if [ "${wanted[*]}" = "${platforms[*]}" ]; then
	echo "== the image (${SECONDS}s)"
	go mod download -json "$roots" >"$work/roots.json"
	"$work/gen" certificates "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' "$work/roots.json")" >"$work/ca-certificates.crt"
	packaging/image/build.sh "$work" "$work/image"
	archive "$work/image" >"$out/bigpanda-udf_${version}_image.tar"
fi

(cd "$out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
echo "== $out (${SECONDS}s)"
ls -l "$out"
