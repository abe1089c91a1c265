#!/usr/bin/env bash
# Installs the programs that the examples in docs/audit-trail.md and docs/privacy.md need, on Debian: openssl, rsync, sqlite3,
# strace and systemd-analyze.
set -euo pipefail

missing=()
for program in openssl rsync sqlite3 strace; do
  command -v "$program" >/dev/null || missing+=("$program")
done
command -v systemd-analyze >/dev/null || missing+=(systemd)
if ((${#missing[@]} == 0)); then
  echo "openssl, rsync, sqlite3, strace and systemd-analyze are already installed"
  exit 0
fi
echo "installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=600 -qq update
apt-get -o DPkg::Lock::Timeout=600 -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
