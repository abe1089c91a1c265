#!/bin/sh
# Appends the gateway's new checkpoints to a local file, and never removes a line. Run it on a machine other than the
# gateway's, so that the gateway's machine cannot change the file.
#
# usage: keep-checkpoints.sh FILE COMMAND...
#   keep-checkpoints.sh kept.jsonl ssh gateway.example.com cat /var/log/tailgate/audit/checkpoints.jsonl
#
# COMMAND prints the gateway's checkpoints.jsonl. Exits with an error if it prints none.
set -u

file=$1
shift
touch "$file"

checkpoints=$("$@") || exit
[ -n "$checkpoints" ] || {
  echo "There are no checkpoints." >&2
  exit 1
}
printf '%s\n' "$checkpoints" | grep -vxFf "$file" >"$file.new"
cat "$file.new" >>"$file"
rm "$file.new"
