#!/usr/bin/env bash
# Installs what the examples of the documentation need beside npm: `npm run setup:docs`. Each script is unchanged if its
# programs are there already.
set -euo pipefail
cd "$(dirname "$0")"

bash setup-python.sh
for script in setup-docs/*.sh; do
  [[ -e "$script" ]] || continue
  echo "== $script"
  bash "$script"
done
