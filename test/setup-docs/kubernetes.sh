#!/usr/bin/env bash
# Installs kubernetes-validate, which validates manifests against the Kubernetes schemas, into the cache. Does nothing if it is installed.
set -euo pipefail

directory="${TAILGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tailgate}/kubernetes-validate-1.37.0"
if [[ -x "$directory/bin/kubernetes-validate" ]]; then
  echo "kubernetes-validate is already installed"
  exit 0
fi
rm -rf "$directory"
python3 -m venv "$directory"
"$directory/bin/pip" install --quiet --disable-pip-version-check kubernetes-validate==1.37.0
