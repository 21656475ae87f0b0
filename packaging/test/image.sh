#!/usr/bin/env bash
# The image, beside Kapacitor in a container of its own as in examples/containers: an
# alert arrives through the shared sockets, and one through a function with prog.
# image.sh WORK, as all.sh has it.
#
# Kapacitor's own image is in a registry. What stands in for it here has a kapacitord
# (KAPACITORD, or the one that "make e2e" has built) and its C library, and runs it as
# a user called kapacitor, with the number 999, as that image does.
set -euo pipefail
work=$1
kapacitord=${KAPACITORD:-$HOME/.cache/bigpanda-udf-e2e/kapacitord-1.8.3}
[ -x "$kapacitord" ] || { echo "no kapacitord: set KAPACITORD, or make e2e first" >&2; exit 1; }
version=1.2.3
api=127.0.0.1:18090
storage=(--root "$work/storage" --runroot "$work/storage-run" --storage-driver vfs)
podman() { command podman "${storage[@]}" --cgroup-manager cgroupfs --runtime runc "$@"; }
run() { podman run --detach --network host --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@"; }
build() { buildah "${storage[@]}" build --quiet --isolation chroot --pull=never "$@" >/dev/null; }

cleanup() {
	podman rm --force --time 5 daemon kapacitor metrics prog >/dev/null 2>&1 || true
	[ -z "${sandbox:-}" ] || kill "$sandbox"
}
trap cleanup EXIT

tar -C "$work" -xf "$work"/dist/bigpanda-udf_${version}_image.tar
(cd "$work" && podman pull --quiet "oci:image:bigpanda-udf:$version" >/dev/null) # a path is part of a name, and no name has capitals
podman tag "$(podman images --quiet | head -1)" "docker.io/library/bigpanda-udf:$version"
podman image inspect --format '{{.Size}} bytes, user {{.User}}, {{.Architecture}}' "bigpanda-udf:$version"
[ "$(podman image inspect --format '{{.Size}}' "bigpanda-udf:$version")" -lt 20000000 ]

mkdir -p "$work"/kapacitor/{etc,lib64,usr/bin,var/lib/kapacitor,tmp}
cp "$kapacitord" "$work/kapacitor/usr/bin/kapacitord"
cp -L /lib64/ld-linux-x86-64.so.2 "$work/kapacitor/lib64"
cp -L "$(ldd "$kapacitord" | sed -n 's/.*libc.so.6 => \(.*\) (.*/\1/p')" "$work/kapacitor/lib64"
echo 'kapacitor:x:999:999::/var/lib/kapacitor:/bin/false' >"$work/kapacitor/etc/passwd"
cat >"$work/kapacitor/Dockerfile" <<'EOF'
FROM scratch
COPY . /
COPY --chown=999:999 var /var
USER 999:999
ENV LD_LIBRARY_PATH=/lib64
CMD ["/usr/bin/kapacitord", "-config", "/etc/kapacitor/kapacitor.conf"]
EOF
build -t docker.io/library/kapacitor:1.8 "$work/kapacitor"

# conf PORT FUNCTION… prints a kapacitor.conf.
conf() {
	printf 'hostname = "localhost"\ndata_dir = "/var/lib/kapacitor"\n[http]\n  bind-address = "127.0.0.1:%s"\n' "$1"
	printf '[replay]\n  dir = "/var/lib/kapacitor/replay"\n[storage]\n  boltdb = "/var/lib/kapacitor/kapacitor.db"\n'
	printf '[load]\n  enabled = false\n[task]\n  dir = "/var/lib/kapacitor/tasks"\n[[influxdb]]\n  enabled = false\n  name = "default"\n'
	printf '[udf.functions.bigpanda]\n  timeout = "10s"\n'
	shift
	printf '  %s\n' "$@"
}

# alert PORT HOST defines a task, lets a host's alert arise, and waits for it to arrive.
alert() {
	local kapacitor=http://127.0.0.1:$1/kapacitor/v1
	until curl -fsS "$kapacitor/ping" 2>/dev/null; do sleep 0.2; done
	curl -fsS "$kapacitor/tasks" -d '{"id": "cpu", "type": "stream", "status": "enabled", "dbrps": [{"db": "telegraf", "rp": "autogen"}],
		"script": "stream|from().measurement('"'cpu'"').groupBy('"'host'"')|alert().crit(lambda: \"usage\" > 90).levelField('"'level'"').idTag('"'alertID'"')@bigpanda()"}' >/dev/null
	curl -fsS "$kapacitor/write?db=telegraf&rp=autogen" -d "cpu,host=$2 usage=95 $(date +%s)000000000"
	until curl -fsS "http://$api/alerts" | grep -q "$2"; do sleep 0.2; done
	echo "the alert of $2 has arrived"
}

echo 0123456789 >"$work/bigpanda.token"
chown 65532 "$work/bigpanda.token"
chmod 0400 "$work/bigpanda.token"
program=$(echo "$work"/unpacked/usr/bin/bigpanda-udf)
"$program" sandbox --listen "$api" >"$work/image-sandbox.log" 2>&1 &
sandbox=$!
settings=(--env BIGPANDA_APP_KEY=k --env BIGPANDA_URL="http://$api/data/v2/alerts")

echo '-- the daemon, and Kapacitor with socket'
podman volume create sockets >/dev/null
run --name daemon --read-only --cap-drop all "${settings[@]}" --env BIGPANDA_TOKEN_FILE=/run/secrets/bigpanda_token \
	--env BIGPANDA_SERVE_SOCKET_MODE=0666 --volume sockets:/run/bigpanda-udf --volume outbox:/var/lib/bigpanda-udf \
	--volume "$work/bigpanda.token:/run/secrets/bigpanda_token:ro" "bigpanda-udf:$version" >/dev/null
conf 19092 'socket = "/run/bigpanda-udf/bigpanda.sock"' >"$work/kapacitor.conf"
run --name kapacitor --volume "$work/kapacitor.conf:/etc/kapacitor/kapacitor.conf:ro" --volume sockets:/run/bigpanda-udf \
	kapacitor:1.8 >/dev/null
alert 19092 web-socket
podman exec daemon /usr/bin/bigpanda-udf outbox status
[ "$(podman exec daemon /usr/bin/bigpanda-udf outbox list --json | wc -l)" = 0 ]

echo '-- metrics of the outboxes in the same volume'
run --name metrics --read-only --cap-drop all --volume outbox:/var/lib/bigpanda-udf "bigpanda-udf:$version" \
	metrics --listen 127.0.0.1:19788 >/dev/null
until curl -fsS http://127.0.0.1:19788/metrics 2>/dev/null | grep '^bigpanda_udf_alerts_delivered_total{.*task="cpu"} 1$'; do sleep 0.2; done

echo '-- the function in an image of Kapacitor'
mkdir "$work/prog"
conf 19093 'prog = "/usr/local/bin/bigpanda-udf"' 'args = []' '[udf.functions.bigpanda.env]' 'BIGPANDA_TOKEN = "0123456789"' \
	'BIGPANDA_APP_KEY = "k"' "BIGPANDA_URL = \"http://$api/data/v2/alerts\"" 'BIGPANDA_OUTBOX = "/var/lib/kapacitor/bigpanda-udf"' >"$work/prog/kapacitor.conf"
build -t prog -f examples/containers/Dockerfile "$work/prog"
run --name prog prog >/dev/null
alert 19093 web-prog
