#!/usr/bin/env bash
# Installs the packages of the Node.js and browser examples into ~/.cache/tailgate/examples: one directory for each package.json.
# If an example uses Tailgate, its directory also gets Tailgate's dependencies. Directories that are up to date stay unchanged.
set -euo pipefail

root="$(cd "$(dirname "$0")/../.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tailgate/examples"

for example in node node/pino-transport node/all-signals browser; do
  directory="$cache/${example//\//-}"
  mkdir -p "$directory"
  # The same value as in test/docs/example-packages.ts.
  wanted="$(node -e '
    const [example, tailgate] = process.argv.slice(1).map((path) => require(path));
    const dependencies = { ...example.dependencies, ...example.devDependencies };
    if (dependencies["@opentelemetry/instrumentation"]) Object.assign(dependencies, tailgate.dependencies);
    console.log(JSON.stringify({ private: true, dependencies }));
  ' "$root/examples/$example/package.json" "$root/package.json")"
  # Written last, so that a failed attempt does not count as a success.
  if [[ "$(cat "$directory/installed.json" 2>/dev/null)" == "$wanted" ]]; then
    echo "$directory is up to date"
    continue
  fi
  rm -rf "${directory:?}"/*
  echo "$wanted" >"$directory/package.json"
  npm install --prefix "$directory" --silent --ignore-scripts --no-audit --no-fund --no-package-lock
  cp "$directory/package.json" "$directory/installed.json"
  echo "$directory is ready"
done
