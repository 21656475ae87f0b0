#!/usr/bin/env bash
# The units of a package are well-formed and hardened, and neither the daemon, metrics
# nor deliver need what they forbid. units.sh WORK, as all.sh has it.
set -euo pipefail
work=$1
root=$work/unpacked
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

# traced COMMAND… runs the program in the background, and notes its system calls; ended
# stops it as systemd does.
traced() {
	strace -f -o "$work/strace-$1" "$root/usr/bin/bigpanda-udf" "$@" 2>"$work/log-$1" &
	traced=$!
}
ended() {
	kill "$(pgrep -P "$traced")" # strace's child
	wait "$traced"
}

# The daemon takes a point from its socket, finds nobody to deliver it to, and ends.
mkdir -m 0700 "$work/outbox" "$work/run"
BIGPANDA_TOKEN=0123456789 BIGPANDA_APP_KEY=k BIGPANDA_OUTBOX=$work/outbox BIGPANDA_URL=http://127.0.0.1:9/ \
	traced serve --socket "$work/run/s"
until [ -S "$work/run/s" ]; do sleep 0.1; done
"$work/points" -socket "$work/run/s" cpu web-1 >"$work/answers"
ended
grep -q 'changes wait in the outbox' "$work/log-serve"

# And metrics are asked for of what it left.
traced metrics --outbox "$work/outbox" --listen 127.0.0.1:19786
until curl -fsS http://127.0.0.1:19786/metrics 2>/dev/null | grep '^bigpanda_udf_queued_alerts{.*task="cpu"} 1$'; do sleep 0.1; done
ended

# deliver takes an alert, which a function has published, from NATS to BigPanda.
api=127.0.0.1:18091 nats=127.0.0.1:14222
echo 0123456789 >"$work/token"
export BIGPANDA_NATS=nats://$nats BIGPANDA_NATS_REPLICAS=1 BIGPANDA_TOKEN_FILE=$work/token BIGPANDA_URL=http://$api/data/v2/alerts
"$work/nats-server" --addr "${nats%:*}" --port "${nats#*:}" --jetstream --store_dir "$work/nats" --log "$work/nats.log" &
"$root/usr/bin/bigpanda-udf" sandbox --listen "$api" >/dev/null 2>&1 &
trap 'kill $(jobs -p) $(pgrep -P "$traced") 2>/dev/null || true' EXIT # strace waits for its child
traced deliver --listen 127.0.0.1:19787
until curl -fsS http://127.0.0.1:19787/ready 2>/dev/null; do sleep 0.1; done
{ # the task lives until the alert has arrived
	"$work/points" cpu web-nats
	until curl -fsS "http://$api/alerts" 2>/dev/null | grep -q web-nats; do sleep 0.1; done
} | BIGPANDA_APP_KEY=k BIGPANDA_OUTBOX=$work/outbox-nats "$root/usr/bin/bigpanda-udf" >"$work/answers" 2>"$work/log-function"
until curl -fsS http://127.0.0.1:19787/metrics | grep '^bigpanda_udf_deliverer_alerts_delivered_total 1$'; do sleep 0.1; done
ended

sed -n 's/^[0-9]* \([a-z0-9_]*\)(.*/\1/p' "$work"/strace-* | sort -u >"$work/used"
# With prlimit64 Go raises its own limit of open files, which LimitNOFILE= has done.
denied=$({
	comm -23 "$work/used" "$work/allowed"
	comm -12 "$work/used" "$work/forbidden"
	grep -ho 'socket(AF_[A-Z0-9_]*' "$work"/strace-* | grep -vxE 'socket\(AF_(UNIX|INET|INET6)' # RestrictAddressFamilies=
	grep -ho 'm[a-z]*(.*PROT_WRITE|PROT_EXEC' "$work"/strace-*                                  # MemoryDenyWriteExecute=
} | sort -u | grep -vx prlimit64 || true)
echo "$(wc -l <"$work/used") system calls, forbidden: ${denied:-none}"
[ -z "$denied" ]
