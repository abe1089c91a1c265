#!/usr/bin/env bash
# Installs Mermaid (150 MB), which renders the diagrams of the pages like GitHub, outside the checkout.
set -euo pipefail

version=11.17.2
directory="${XDG_CACHE_HOME:-$HOME/.cache}/tailgate/mermaid"

if [[ "$(cat "$directory/installed" 2>/dev/null)" == "$version" ]]; then
  echo "$directory is up to date"
  exit 0
fi
mkdir -p "$directory"
npm install --prefix "$directory" --no-save --no-audit --no-fund --loglevel=error "mermaid@$version"
echo "$version" > "$directory/installed"
echo "$directory is ready"
