#!/usr/bin/env bash
# Installs Mermaid, which renders the diagrams of the pages as GitHub does, outside the checkout: 150 MB.
set -euo pipefail

version=11.17.2
directory="${XDG_CACHE_HOME:-$HOME/.cache}/tailgate/mermaid"

if [[ "$(cat "$directory/installed" 2>/dev/null)" == "$version" ]]; then
  echo "$directory is there already"
  exit 0
fi
mkdir -p "$directory"
npm install --prefix "$directory" --no-save --no-audit --no-fund --loglevel=error "mermaid@$version"
echo "$version" > "$directory/installed"
echo "$directory is ready"
