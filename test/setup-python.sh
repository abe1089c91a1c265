#!/usr/bin/env bash
# Makes the Python environment in which the example for Python is run: `npm run setup:python`.
# It is kept outside the checkout, and left as it is where it fits already.
set -euo pipefail

requirements="$(dirname "$0")/../examples/python/requirements.txt"
environment="${XDG_CACHE_HOME:-$HOME/.cache}/tailgate/python"
# What was installed last; written at the end, so that an attempt that failed is not taken for a success.
installed="$environment/tailgate-packages.txt"

if [[ -x "$environment/bin/python3" ]] && cmp --silent "$requirements" "$installed"; then
  echo "$environment is there already"
  exit 0
fi

# Debian has the module venv in a package of its own.
python3 -c 'import ensurepip, venv' 2>/dev/null || {
  echo "python3 with its module venv is missing: apt-get install -y python3-venv" >&2
  exit 1
}
python3 -m venv --clear "$environment"
"$environment/bin/python3" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$installed"
echo "$environment is ready"
