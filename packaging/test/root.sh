# What deb.sh and rpm.sh share: a throw-away Debian, and what they do in it. $work
# is set; $root is the folder.

api=127.0.0.1:18089 # nobody listens there until deliver

say() { printf -- '-- %s\n' "$*"; }

new_root() {
	root=$(mktemp -d "$work/root.XXXXXX")
	cp -a packaging/.build/bookworm/. "$root"
}

in_root() { chroot "$root" "$@"; }

as_kapacitor() { # COMMAND…, with the settings of a function in kapacitor.conf
	chroot --userspec kapacitor:kapacitor "$root" env BIGPANDA_TOKEN_FILE=/etc/bigpanda-udf/token BIGPANDA_APP_KEY=k \
		BIGPANDA_OUTBOX=/var/lib/bigpanda-udf BIGPANDA_URL="http://$api/data/v2/alerts" "$@"
}

# check_files compares owners and modes.
check_files() {
	diff - <(in_root sh -c "stat -c '%a %U:%G %n' /usr/bin/bigpanda-udf /etc/bigpanda-udf /etc/bigpanda-udf/* \
		/var/lib/bigpanda-udf /usr/lib/systemd/system/bigpanda-udf.*") <<-EOF
		755 root:root /usr/bin/bigpanda-udf
		750 root:kapacitor /etc/bigpanda-udf
		640 root:kapacitor /etc/bigpanda-udf/bigpanda-udf.env
		640 root:kapacitor /etc/bigpanda-udf/token
		700 kapacitor:kapacitor /var/lib/bigpanda-udf
		644 root:root /usr/lib/systemd/system/bigpanda-udf.service
		644 root:root /usr/lib/systemd/system/bigpanda-udf.socket
	EOF
}

# queue TASK HOST… leaves an alert of each host in the outbox.
queue() { "$work/points" "$@" | as_kapacitor bigpanda-udf >"$work/answers" 2>>"$work/function.log"; }

expect_queued() {
	local queued
	queued=$(as_kapacitor bigpanda-udf outbox list --limit 0 --json | grep -c '"id"' || true)
	[ "$queued" = "$1" ] || { echo "$queued are queued, and not $1"; return 1; }
}

# expect_refused: a program that is older than its outbox says so, and leaves it.
expect_refused() {
	local before
	before=$(cd "$root/var/lib/bigpanda-udf" && find . -name '*.db' -exec sha256sum {} +)
	[ -n "$before" ]
	queue cpu web-4
	grep -a -o 'format 99 is newer than .*: run that one' "$work/answers"
	[ "$before" = "$(cd "$root/var/lib/bigpanda-udf" && find . -name '*.db' -exec sha256sum {} +)" ]
}

# deliver N: all that is queued arrives once somebody listens.
deliver() {
	"$root/usr/bin/bigpanda-udf" sandbox --listen "$api" --json >"$work/requests" 2>"$work/sandbox.log" &
	local sandbox=$! function
	rm -f "$work/stdin"
	mkfifo "$work/stdin"
	as_kapacitor bigpanda-udf <"$work/stdin" >"$work/answers" 2>>"$work/function.log" &
	function=$!
	exec 9>"$work/stdin"
	"$work/points" cpu >&9
	until curl -fsS "http://$api/stats" 2>/dev/null | grep -q "\"alerts\": *$1\b"; do sleep 0.1; done
	exec 9>&-
	wait "$function"
	expect_queued 0
	kill "$sandbox"
}
