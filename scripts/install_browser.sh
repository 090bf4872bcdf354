#!/usr/bin/env bash
# Debian's Chromium, in which the tests of the page run (tests/e2e/test_dashboard.py); they are skipped where there is none.
set -euo pipefail
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no Chromium, and none can be installed here: apt-get install chromium, as root" >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium fonts-dejavu-core >/dev/null
