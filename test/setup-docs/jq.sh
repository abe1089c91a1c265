#!/usr/bin/env bash
# Installs jq, which docs/integrations/collector.md uses to read dead-letter files.
set -euo pipefail

if command -v jq >/dev/null; then
  echo "jq is already installed"
elif command -v apt-get >/dev/null; then
  apt-get install --yes --quiet jq >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet jq; } >/dev/null
  echo "jq is installed"
else
  echo "jq is missing: install it with your package manager"
fi
