#!/bin/sh
# Copies the log directory of a running gateway: backup.sh PID LOG_DIR TARGET
#
# The gateway is suspended during the copy, so that journal.db and its write-ahead log belong together.
set -eu
pid=$1 log_dir=$2 target=$3

# systemd prints MainPID 0 for a service that is not running. `kill -STOP 0` would suspend this script.
[ "$pid" -gt 0 ] || {
  echo "The gateway is not running. Copy its log directory with cp -a." >&2
  exit 1
}

kill -STOP "$pid"
trap 'kill -CONT "$pid"' EXIT
trap 'exit 1' HUP INT TERM

# A thread in a system call stops when the call returns.
while grep -L '^State:.*stopped' /proc/"$pid"/task/*/status | grep -q .; do sleep 0.01; done

cp -a --reflink=auto "$log_dir" "$target"
