#!/usr/bin/env bash
# Installs the programs, other than npm packages, that the documentation's examples need: `npm run setup:docs`. A script does
# nothing if its programs are installed.
set -euo pipefail
cd "$(dirname "$0")"

bash setup-python.sh
# If a script fails, the others still run. Tests that need its programs fail in CI and are skipped elsewhere.
failed=()
for script in setup-docs/*.sh; do
  echo "== $script"
  bash "$script" || failed+=("$script")
done
if ((${#failed[@]} > 0)); then
  echo "these failed: ${failed[*]}" >&2
  exit 1
fi
