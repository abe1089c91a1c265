#!/usr/bin/env bash
# Creates the Python environment of the Python example: `npm run setup:python`.
# It is outside the checkout, and unchanged if it is up to date.
set -euo pipefail

requirements="$(dirname "$0")/../examples/python/requirements.txt"
environment="${XDG_CACHE_HOME:-$HOME/.cache}/tailgate/python"
# The last installed versions; written last, so that a failed attempt does not count as a success.
installed="$environment/tailgate-packages.txt"

if [[ -x "$environment/bin/python3" ]] && cmp --silent "$requirements" "$installed"; then
  echo "$environment is up to date"
  exit 0
fi

# On Debian, the venv module is a separate package.
python3 -c 'import ensurepip, venv' 2>/dev/null || {
  echo "python3 with its module venv is missing: apt-get install -y python3-venv" >&2
  exit 1
}
python3 -m venv --clear "$environment"
"$environment/bin/python3" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$installed"
echo "$environment is ready"
