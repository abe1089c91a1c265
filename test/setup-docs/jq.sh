#!/usr/bin/env bash
# Installs jq, with which docs/integrations/collector.md reads dead-letter files.
set -euo pipefail

if command -v jq >/dev/null; then
  echo "jq: ready"
elif command -v apt-get >/dev/null; then
  apt-get install --yes --quiet jq >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet jq; } >/dev/null
  echo "jq: installed"
else
  echo "jq: skipped, install it with your package manager"
fi
