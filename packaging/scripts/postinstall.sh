#!/bin/sh
# Nothing is started, and a daemon that runs is not restarted: that would end each
# task that is connected to it.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if systemctl --quiet is-active bigpanda-udf.service; then
		echo 'bigpanda-udf.service still runs what was installed before: restart it, and then reload'
		echo 'the tasks of Kapacitor that use it, with the command that it logs when it stops.'
	fi
fi
