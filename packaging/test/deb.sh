#!/usr/bin/env bash
# The deb in a Debian of its own: install, upgrade with a queue, downgrade, remove,
# purge. deb.sh WORK, as all.sh has it.
set -euo pipefail
work=$1
old=$(echo "$work"/dist/bigpanda-udf_*_amd64.deb) new=$(echo "$work"/newer/bigpanda-udf_*_amd64.deb)
. "$(dirname "$0")/root.sh"

lintian --fail-on error --tag-display-limit 0 "$work"/dist/*.deb
new_root

say 'install'
cp "$old" "$new" "$root/tmp"
in_root dpkg -i "/tmp/${old##*/}"
check_files
in_root bigpanda-udf version
[ -z "$(grep -E '/usr/local|/etc/kapacitor/bigpanda|/var/lib/kapacitor' "$root/usr/share/doc/bigpanda-udf/kapacitor.conf.snippet")" ]
[ -z "$(find "$root/etc/systemd" -name 'bigpanda*')" ] # not enabled
for page in "$root"/usr/share/man/man1/bigpanda-udf*; do gzip -dc "$page" | mandoc -T lint -W warning; done

say 'upgrade with a queue'
echo 0123456789 >"$root/etc/bigpanda-udf/token"
echo 'BIGPANDA_APP_KEY=k' >"$root/etc/bigpanda-udf/bigpanda-udf.env"
queue cpu web-1 web-2
in_root dpkg -i "/tmp/${new##*/}"
[ "$(cat "$root/etc/bigpanda-udf/token")" = 0123456789 ]
grep -q BIGPANDA_APP_KEY=k "$root/etc/bigpanda-udf/bigpanda-udf.env"
check_files
expect_queued 2
queue cpu web-3 # and now its format is newer
expect_queued 3

say 'downgrade'
in_root dpkg -i "/tmp/${old##*/}"
expect_refused

say 'upgrade again, and deliver'
in_root dpkg -i "/tmp/${new##*/}"
deliver 3

say 'the cron job of node-exporter, whose folder is of root'
mkdir -p "$root/var/lib/prometheus/node-exporter"
cron=monitoring/node-exporter.cron
in_root env -i "$(grep '^PATH=' $cron)" sh -c "$(sed -n 's/^\* \* \* \* \* root //p' $cron)"
grep -c '^bigpanda_udf_scrape_success{.*} 1$' "$root/var/lib/prometheus/node-exporter/bigpanda-udf.prom"
rm -r "$root/var/lib/prometheus"

say 'remove'
in_root dpkg -r bigpanda-udf
[ ! -e "$root/usr/bin/bigpanda-udf" ]
[ -s "$root/etc/bigpanda-udf/token" ]
[ -n "$(ls "$root/var/lib/bigpanda-udf")" ]

say 'purge'
in_root dpkg -P bigpanda-udf
[ ! -e "$root/etc/bigpanda-udf" ]
[ ! -e "$root/var/lib/bigpanda-udf" ]
[ -z "$(find "$root" -xdev -name '*bigpanda*' -not -path "$root/tmp/*" -not -path "$root/proc/*")" ]
