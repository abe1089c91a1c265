#!/usr/bin/env bash
# Installs what the tests in test/crash need besides npm: strace, prlimit and mount: `npm run setup:crash`. Needs apt-get and root; elsewhere it
# lists what is missing.
set -euo pipefail

declare -A packages=([strace]=strace [prlimit]=util-linux [mount]=mount)
missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "strace, prlimit and mount are already installed"
elif command -v apt-get >/dev/null && [[ "$(id -u)" == 0 ]]; then
  apt-get update && apt-get install --yes "${missing[@]}"
else
  echo "these Debian packages are missing: ${missing[*]}" >&2
  exit 1
fi
