#!/usr/bin/env bash
# Makes the deb and the rpm of a staged folder, which release.sh has filled but for
# what is a package's alone: package.sh NFPM STAGE OUT. VERSION, DATE, MAINTAINER,
# GOARCH and SOURCE_DATE_EPOCH are set.
set -euo pipefail
nfpm=$1 stage=$2 out=$3
packaging=$(cd "$(dirname "$0")" && pwd)
cp -r "$packaging"/{etc,scripts,lintian-overrides,nfpm.yaml} "$stage"
cd "$stage"
: >etc/token
gzip -n9 man/*.1
cat doc/LICENSE doc/LICENSES-OF-MODULES >doc/copyright
rm doc/LICENSE doc/LICENSES-OF-MODULES
sed -i -e 's,/usr/local/bin/,/usr/bin/,' -e 's,/etc/kapacitor/bigpanda.token,/etc/bigpanda-udf/token,' \
	-e 's,/var/lib/kapacitor/bigpanda-udf,/var/lib/bigpanda-udf,' doc/kapacitor.conf.snippet
cat >changelog.yaml <<EOF
- semver: $VERSION
  date: $DATE
  packager: $MAINTAINER
  deb: {urgency: medium, distributions: [stable]}
  changes:
    - note: What has changed is in CHANGELOG.md.
EOF
for format in deb rpm; do
	ARCH=$GOARCH "$nfpm" package -f nfpm.yaml -p $format -t "$out"
done
