#!/usr/bin/env bash
# Installs what the examples of the documentation need beside npm: `npm run setup:docs`. Each script is unchanged if its
# programs are there already.
set -euo pipefail
cd "$(dirname "$0")"

bash setup-python.sh
# One that fails does not keep the others from running; the tests that need it fail in CI, and are skipped elsewhere.
failed=()
for script in setup-docs/*.sh; do
  echo "== $script"
  bash "$script" || failed+=("$script")
done
if ((${#failed[@]} > 0)); then
  echo "these failed: ${failed[*]}" >&2
  exit 1
fi
