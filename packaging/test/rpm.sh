#!/usr/bin/env bash
# The rpm in a root of its own, as the deb in deb.sh; its scripts are run there by
# Debian's shell. rpm.sh WORK, as all.sh has it.
set -euo pipefail
work=$1
old=$(echo "$work"/dist/*.x86_64.rpm) new=$(echo "$work"/newer/*.x86_64.rpm)
. "$(dirname "$0")/root.sh"
new_root
rpm --root "$root" --initdb
in_rpm() { rpm --root "$root" --nodeps "$@"; }

say 'install'
in_rpm -i "$old"
check_files
in_root bigpanda-udf version

say 'upgrade with a queue'
echo 0123456789 >"$root/etc/bigpanda-udf/token"
queue cpu web-1 web-2
in_rpm -U "$new"
[ "$(cat "$root/etc/bigpanda-udf/token")" = 0123456789 ]
check_files
expect_queued 2
queue cpu web-3
expect_queued 3

say 'downgrade'
in_rpm -U --oldpackage "$old"
expect_refused

say 'upgrade again, and deliver'
in_rpm -U "$new"
deliver 3

say 'remove'
in_rpm -e bigpanda-udf
[ ! -e "$root/usr/bin/bigpanda-udf" ]
[ -n "$(ls "$root/var/lib/bigpanda-udf")" ]
[ -s "$root/etc/bigpanda-udf/token.rpmsave" ]
