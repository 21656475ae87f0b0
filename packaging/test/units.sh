#!/usr/bin/env bash
# The units of a package are well-formed and hardened, and neither the daemon nor
# metrics need a system call that they forbid. units.sh WORK, as all.sh has it.
set -euo pipefail
work=$1
root=$work/unpacked
dpkg -x "$work"/dist/bigpanda-udf_*_amd64.deb "$root"
units=$root/usr/lib/systemd/system
mkdir "$work/units"
for unit in "$units"/*; do # which name the program where it is installed
	sed "s,/usr/bin/bigpanda-udf,$root&," "$unit" >"$work/units/${unit##*/}"
done
systemd-analyze verify --man=no "$work"/units/*
for unit in "$work"/units/*.service; do
	systemd-analyze security --offline=yes --no-pager "$unit" >"$work/security"
	grep 'Overall exposure level' "$work/security"
	exposure=$(sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p' "$work/security")
	awk -v e="$exposure" 'BEGIN { exit !(e != "" && e <= 2.0) }'
done

# expand prints the system calls of a set, and of the sets in it.
expand() {
	systemd-analyze syscall-filter "$1" | sed -n 's/^    \([@a-z0-9_]\)/\1/p' | while read -r name; do
		case $name in @*) expand "$name" ;; *) echo "$name" ;; esac
	done
}
expand @system-service | sort -u >"$work/allowed"
for set in @privileged @resources; do expand $set; done | sort -u >"$work/forbidden"

# The daemon takes a point from its socket, finds nobody to deliver it to, and ends.
mkdir -m 0700 "$work/outbox" "$work/run"
BIGPANDA_TOKEN=0123456789 BIGPANDA_APP_KEY=k BIGPANDA_OUTBOX=$work/outbox BIGPANDA_URL=http://127.0.0.1:9/ \
	strace -f -o "$work/strace" "$root/usr/bin/bigpanda-udf" serve --socket "$work/run/s" 2>"$work/log" &
daemon=$!
until [ -S "$work/run/s" ]; do sleep 0.1; done
"$work/points" -socket "$work/run/s" cpu web-1 >"$work/answers"
kill "$(pgrep -P "$daemon")" # strace's child
wait "$daemon"
grep -q 'changes wait in the outbox' "$work/log"

# And metrics are asked for of what it left.
strace -f -o "$work/strace-metrics" "$root/usr/bin/bigpanda-udf" metrics --outbox "$work/outbox" --listen 127.0.0.1:19786 2>"$work/log" &
metrics=$!
until curl -fsS http://127.0.0.1:19786/metrics 2>/dev/null | grep '^bigpanda_udf_queued_alerts{.*task="cpu"} 1$'; do sleep 0.1; done
kill "$(pgrep -P "$metrics")"
wait "$metrics"
sed -n 's/^[0-9]* \([a-z0-9_]*\)(.*/\1/p' "$work"/strace* | sort -u >"$work/used"
# With prlimit64 Go raises its own limit of open files, which LimitNOFILE= has done.
denied=$({ comm -23 "$work/used" "$work/allowed"; comm -12 "$work/used" "$work/forbidden"; } | sort -u | grep -vx prlimit64 || true)
echo "$(wc -l <"$work/used") system calls, forbidden: ${denied:-none}"
[ -z "$denied" ]
