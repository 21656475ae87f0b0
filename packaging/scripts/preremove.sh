#!/bin/sh
# "remove" is what dpkg says, and 0 what rpm does, when nothing follows: an upgrade
# leaves the daemon running.
set -e
if [ -d /run/systemd/system ]; then
	case $1 in
	remove | 0) systemctl --quiet disable --now bigpanda-udf.socket bigpanda-udf.service bigpanda-udf-metrics.service bigpanda-udf-deliver.service ;;
	esac
fi
