#!/usr/bin/env bash
# Installs the packages of the examples for Node and for browsers into ~/.cache/tailgate/examples: one directory for each
# package.json, with the dependencies of Tailgate beside them where its package is used too. Unchanged if it is up to date.
set -euo pipefail

root="$(cd "$(dirname "$0")/../.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tailgate/examples"

for example in node node/pino-transport browser; do
  directory="$cache/${example//\//-}"
  mkdir -p "$directory"
  # As test/docs/example-packages.ts computes it.
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
