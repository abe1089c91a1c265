#!/usr/bin/env bash
# Downloads and compiles the dependencies of the Go, Rust and Java examples, so that the tests of docs/guides run offline.
# Skips a language, and thereby its tests, if its toolchain is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache="${TAILGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tailgate}/languages"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$cache"

# Runs `prepare_LANGUAGE` in a copy of the example, unless this version of the example is already prepared.
provide() { # LANGUAGE PROGRAM
  local language=$1 state
  if ! command -v "$2" >/dev/null; then
    echo "$language: skipped, because $2 is missing"
    return
  fi
  state=$(find "examples/$language" "test/setup-docs/languages.sh" -type f -exec sha256sum {} + | sort | sha256sum)
  if [[ "$(cat "$cache/$language.state" 2>/dev/null)" == "$state" ]]; then
    echo "$language: ready"
    return
  fi
  echo "$language: downloading and compiling ..."
  cp -r "examples/$language" "$scratch/$language"
  (cd "$scratch/$language" && "prepare_$language") >"$scratch/log" 2>&1 || {
    tail -n 20 "$scratch/log" >&2
    return 1
  }
  echo "$state" >"$cache/$language.state"
}

# Starts without requirements, as a reader of the guide does: `go get` also caches its lookups.
prepare_go() {
  local modules
  modules=$(awk '/^\t/ && !/indirect/ { print $1 "@" $2 }' go.mod)
  rm go.mod go.sum
  go mod init example.com/orchestrator &&
    # shellcheck disable=SC2086 # one word per module
    go get $modules &&
    go build -o "$scratch/program" .
}

prepare_rust() {
  CARGO_TARGET_DIR="$cache/rust" cargo build
}

prepare_java() {
  mvn --batch-mode package dependency:copy-dependencies &&
    mvn --batch-mode dependency:copy -DoutputDirectory=. \
      -Dartifact=io.opentelemetry.javaagent:opentelemetry-javaagent:2.31.1
}

provide go go
provide rust cargo
provide java mvn
