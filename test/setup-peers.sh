#!/usr/bin/env bash
# Builds the real programs that the tests in test/peers talk to: `npm run setup:peers`, with Loki `LOKI=1 npm run setup:peers`.
# Needs Go 1.26. They are installed outside the checkout, by version, so that a second run has nothing to do. A program on PATH
# is used instead. Programs that could not be installed are listed at the end.
set -euo pipefail

manifest="$(cd "$(dirname "$0")" && pwd)/peers/otelcol.yaml"
peers="${TAILGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tailgate}/peers"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
missing=()

# Installs the program as $peers/bin/PROGRAM, where the tests look for it. `build_PROGRAM FILE` writes it
# to FILE.
provide() { # PROGRAM VERSION [NAME-ON-PATH...]
  local program=$1 version=$2 name found status
  local kept="$peers/$program-$version/$program"
  for name in "${@:3}"; do
    if found=$(command -v "$name") && [[ "$found" != "$peers"/* ]] && suits "$program" "$found"; then
      echo "$program: $found"
      ln -sfn "$found" "$peers/bin/$program"
      return
    fi
  done
  if [[ ! -x "$kept" ]]; then
    echo "$program: building $version ..."
    mkdir -p "${kept%/*}"
    # Not `if (...)`: what is in a condition goes on after an error.
    set +e
    (
      set -e
      "build_${program//-/_}" "$scratch/$program.built"
    ) >"$scratch/$program.log" 2>&1
    status=$?
    set -e
    if [[ $status != 0 ]]; then
      tail -n 20 "$scratch/$program.log" >&2
      missing+=("$program $version")
      return
    fi
    # In two steps, as the cache may be another file system: one that was cut off is not taken for whole.
    mv "$scratch/$program.built" "$kept.part"
    mv "$kept.part" "$kept"
  fi
  echo "$program: $kept"
  ln -sfn "$kept" "$peers/bin/$program"
}

# Some distributions of the Collector lack what otel-collector.yaml needs, or have other names for it.
suits() { # PROGRAM PATH
  [[ $1 != otelcol ]] || [[ "$("$2" components)" == *otlp_http*bearertokenauth*file_storage* ]]
}

# The builder's own `go mod tidy` also requires test-only dependencies of the modules, some of which are unavailable.
build_otelcol() { # FILE
  local modules collector stable
  modules=$(awk '/gomod:/ { print $3 "@" $4 }' "$manifest")
  collector=$(version_of receiver/otlpreceiver)
  stable=$(version_of confmap/provider/envprovider)
  cd "$scratch"
  GOBIN="$scratch" go install "go.opentelemetry.io/collector/cmd/builder@$collector"
  ./builder --config "$manifest" --skip-get-modules --skip-compilation
  cd otelcol
  rm -f go.mod
  go mod init tailgate.invalid/otelcol
  # shellcheck disable=SC2086 # a module a word
  go get $modules "go.opentelemetry.io/collector/otelcol@$collector" "go.opentelemetry.io/collector/component@$stable"
  build_program "$1" .
}

version_of() { # MODULE: in the manifest
  awk -v module="/collector/$1" 'index($3, module) { print $4 }' "$manifest"
}

build_jaeger() { # FILE
  enter_copy github.com/jaegertracing/jaeger "v$jaeger"
  build_program "$1" ./cmd/jaeger
}

build_victoria_logs() { # FILE
  enter_copy github.com/VictoriaMetrics/VictoriaMetrics "v$victoria_logs"
  build_program "$1" ./app/victoria-logs
}

build_loki() { # FILE
  enter_copy github.com/grafana/loki/v3 "v$loki"
  # It names a folder that is a module of its own, so that it is not in this one's copy.
  go mod edit -dropreplace=github.com/grafana/loki/pkg/push
  build_program "$1" ./cmd/loki
}

# `go install` rejects modules with replace directives, and the module cache is read-only.
enter_copy() { # MODULE VERSION
  local folder
  folder=$(cd "$scratch" && go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  cp -r "$folder" "$scratch/sources"
  chmod -R u+w "$scratch/sources"
  cd "$scratch/sources"
  trap 'rm -rf "$scratch/sources"' EXIT
}

build_program() { # FILE PACKAGE
  CGO_ENABLED=0 nice go build -mod=mod -buildvcs=false -trimpath -ldflags "-s -w" -o "$1" "$2"
}

jaeger=1.76.0
victoria_logs=1.117.0
loki=3.7.8

mkdir -p "$peers/bin"
provide otelcol "$(sed -n 's/^  version: //p' "$manifest")" otelcol-contrib otelcol
provide victoria-logs "$victoria_logs" victoria-logs-prod victoria-logs
provide jaeger "$jaeger" jaeger
if [[ -n "${LOKI:-}" ]]; then provide loki "$loki" loki; fi

if [[ ${#missing[@]} != 0 ]]; then
  printf 'not to be had here: %s\n' "${missing[@]}" >&2
  command -v go >/dev/null || echo "Go is missing: with Go 1.26 on PATH they can be built" >&2
  exit 1
fi
