#!/bin/sh
# What waits for delivery stays when the package is removed, and goes when it is
# purged, as dpkg calls it. Kapacitor's user stays.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/bigpanda-udf /etc/bigpanda-udf
fi
