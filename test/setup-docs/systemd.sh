#!/usr/bin/env bash
# Installs the programs that the tests of docs/deployment need, such as nginx, Caddy, sshd and Buildah, and a Debian root file
# system that systemd-nspawn boots. Needs root and apt-get; otherwise it lists the missing packages.
set -euo pipefail

declare -A packages=(
  [systemd-nspawn]=systemd-container [systemd-analyze]=systemd [debootstrap]=debootstrap [unshare]=util-linux [ip]=iproute2
  [nginx]=nginx-light [caddy]=caddy [haproxy]=haproxy [sshd]=openssh-server [ssh]=openssh-client [buildah]=buildah [openssl]=openssl
)
PATH="$PATH:/usr/sbin:/sbin"
missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "the programs are already installed"
elif command -v apt-get >/dev/null && [[ "$(id -u)" == 0 ]]; then
  # RUNLEVEL=1 keeps Debian from starting the services that it installs.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get -o DPkg::Lock::Timeout=600 -qq update
  apt-get -o DPkg::Lock::Timeout=600 -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "these Debian packages are missing: ${missing[*]}" >&2
  exit 1
fi

# Increment the number when the packages below change.
root="${TAILGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tailgate}/debian-machine-1"
if [[ -d "$root" ]]; then
  echo "the root file system is up to date: $root"
  exit 0
fi
echo "building $root with debootstrap, in about two minutes ..."
rm -rf "$root.part"
mkdir -p "${root%/*}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! debootstrap --variant=minbase \
  --include=systemd,systemd-sysv,dbus,procps,curl,ca-certificates,openssl,nginx-light,openssh-server,openssh-client \
  bookworm "$root.part" >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  exit 1
fi
rm -rf "$root.part/var/cache/apt/archives" "$root.part/var/lib/apt/lists"
mv "$root.part" "$root"
