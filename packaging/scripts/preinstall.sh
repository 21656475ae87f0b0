#!/bin/sh
# Kapacitor's user owns the outbox and may read the token. Where Kapacitor's own
# package is not installed yet it is made as that makes it.
set -e
if ! getent passwd kapacitor >/dev/null; then
	useradd --system --user-group --no-create-home --shell /bin/false --home-dir /var/lib/kapacitor kapacitor
fi
