# Postgres: one cluster, one superuser with a random password, no sockets but TCP on loopback.
# shellcheck shell=bash

postgres_bin() {
  local candidate
  for candidate in "$(pg_config --bindir 2>/dev/null)" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) \
    "$(dirname "$(readlink -f "$(command -v postgres)")" 2>/dev/null)"; do
    if [[ -x $candidate/postgres && -x $candidate/initdb ]]; then echo "$candidate"; return; fi
  done
  return 1
}

# initdb and postgres refuse to run as root: this is the command that makes what follows it another user's.
postgres_as() {
  ((EUID)) || echo setpriv --reuid "$(postgres_user)" --regid "$(id -g "$(postgres_user)")" --clear-groups --
}

postgres_user() {
  if ((EUID)); then id -un; elif id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

postgres_prepare() {
  local home=$DIR/postgres data=$DIR/postgres/data bin as password
  bin=$(postgres_bin) || fail "no Postgres server found: run 'infra/services install postgres'"
  mkdir -p "$home"
  [[ ! -e $data/PG_VERSION ]] || return 0
  rm -rf "$data"
  read -ra as <<<"$(postgres_as)"
  # Below a private directory, say root's home, the server's user would not reach its data: then they stand under /tmp and a link leads there.
  if ! (cd / && "${as[@]}" test -x "$home"); then
    ln -s "$(mktemp -d /tmp/millrace-postgres.XXXXXX)" "$data"
    data=$(readlink "$data")
  fi
  install -d -m 700 -o "$(postgres_user)" "$data"
  password=$(mktemp /tmp/millrace-postgres.XXXXXX)
  setting postgres_password random_key 32 >"$password"
  chown "$(postgres_user)" "$password"
  (cd / && "${as[@]}" "$bin/initdb" -D "$data" -U millrace -A scram-sha-256 --pwfile="$password" -E UTF8 --locale=C --no-sync \
    && echo 'create database millrace' | "${as[@]}" "$bin/postgres" --single -D "$data" postgres) >>"$home/log" 2>&1 \
    || { tail -n 20 "$home/log" >&2; fail "initdb failed"; }
  rm "$password"
}

postgres_launch() {
  local as
  read -ra as <<<"$(postgres_as)"
  launch postgres "${as[@]}" "$(postgres_bin)/postgres" -D "$(readlink -f "$DIR/postgres/data")" -p "$(setting postgres_port free_port)" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
}

postgres_healthy() { "$(postgres_bin)/pg_isready" -q -t 2 -h 127.0.0.1 -p "$(setting postgres_port false)"; }

postgres_env() {
  echo "export MILLRACE_TEST_DATABASE_URL=postgres://millrace:$(setting postgres_password false)@127.0.0.1:$(setting postgres_port false)/millrace"
}

# SIGTERM would wait for every client to leave; SIGINT is Postgres' fast shutdown.
postgres_stop() { end_process postgres INT 20; }
