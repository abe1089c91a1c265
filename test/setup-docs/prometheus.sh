#!/usr/bin/env bash
# Installs promtool and Prometheus, which test the alert rules in examples/monitoring, and sqlite3 and ss, which the pages
# about backups and troubleshooting use. Needs apt-get and root; otherwise it lists the missing packages.
set -euo pipefail

declare -A packages=([promtool]=prometheus [prometheus]=prometheus [sqlite3]=sqlite3 [ss]=iproute2)
missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "promtool, prometheus, sqlite3 and ss are already installed"
elif command -v apt-get >/dev/null && [[ "$(id -u)" == 0 ]]; then
  # Keeps the package from starting a server.
  export RUNLEVEL=1
  apt-get update --quiet=2
  apt-get install --yes --quiet=2 --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"
else
  echo "these Debian packages are missing: ${missing[*]}" >&2
  exit 1
fi
