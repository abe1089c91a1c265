#!/usr/bin/env bash
# Installs the browsers that test the dashboard: `npm run setup:browsers`, as root on Debian. Keeps installed ones.
set -euo pipefail

packages=()
for browser in chromium firefox-esr; do
  command -v "$browser" >/dev/null || packages+=("$browser")
done
if [[ ${#packages[@]} == 0 ]]; then
  echo "chromium and firefox-esr are already installed"
  exit 0
fi
command -v apt-get >/dev/null || {
  echo "no apt-get here: install ${packages[*]} by other means, or set CHROMIUM and FIREFOX to their paths" >&2
  exit 1
}
apt-get update
apt-get install --yes --no-install-recommends "${packages[@]}"
