#!/usr/bin/env bash
# Installs logrotate, with which the tests of docs/guides/log-files.md rotate files that are followed.
set -euo pipefail

if command -v logrotate >/dev/null || [ -x /usr/sbin/logrotate ]; then
  echo "logrotate is already installed"
elif command -v apt-get >/dev/null; then
  apt-get install --yes --quiet logrotate >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet logrotate; } >/dev/null
  echo "logrotate is installed"
else
  echo "logrotate is missing: install it with your package manager"
fi
