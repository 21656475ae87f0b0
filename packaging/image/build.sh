#!/usr/bin/env bash
# Makes the image for amd64 and arm64 as an OCI layout: build.sh STAGED OUT, where
# STAGED has the programs of release.sh and ca-certificates.crt. VERSION and
# SOURCE_DATE_EPOCH are set. It needs buildah alone, no engine.
set -euo pipefail
staged=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
context=$staged/context storage=$staged/storage
mkdir -p "$context"/folders/{run,var/lib}/bigpanda-udf
chmod 0700 "$context/folders/var/lib/bigpanda-udf"
cp "$here/Dockerfile" "$staged/ca-certificates.crt" "$context"
for arch in amd64 arm64; do
	cp "$staged/bigpanda-udf_${VERSION}_linux_$arch/bigpanda-udf" "$context/bigpanda-udf_$arch"
done
buildah=(buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
"${buildah[@]}" build --quiet --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --identity-label=false \
	--platform linux/amd64,linux/arm64 --manifest "bigpanda-udf:$VERSION" "$context"
"${buildah[@]}" manifest push --quiet --all "bigpanda-udf:$VERSION" "oci:$out:bigpanda-udf:$VERSION"
