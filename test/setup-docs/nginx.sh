#!/usr/bin/env bash
# Installs nginx, which serves pages and forwards requests in examples. Keeps an installed one.
set -euo pipefail

if command -v nginx >/dev/null; then
  echo "nginx is there already"
  exit 0
fi
command -v apt-get >/dev/null || {
  echo "no apt-get here: install nginx by other means" >&2
  exit 1
}
apt-get update
apt-get install --yes --no-install-recommends nginx-light
