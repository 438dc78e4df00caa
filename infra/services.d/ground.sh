# What every service needs: settings that outlive a restart, ports nobody else has, processes that are ended by id. Nothing about a particular server.
# shellcheck shell=bash

say() { echo "services: $*" >&2; }
fail() { say "$*"; exit 1; }

# Enters the directory of a set of services and locks it against a second command until this one ends.
enter() {
  [[ -n ${1:-} ]] || { usage >&2; fail "which directory?"; }
  mkdir -p "$1"
  DIR=$(cd "$1" && pwd)
  touch "$DIR/settings"
  chmod 600 "$DIR/settings"
  exec 9>"$DIR/lock"
  flock -w 300 9 || fail "$DIR is in use by another command"
}

unlock() { exec 9>&-; }

# The services that were ever started here.
present() {
  local service
  for service in postgres rabbitmq s3 seaweedfs; do [[ ! -d $DIR/$service ]] || echo "$service"; done
}

# Prints a setting; the first time, makes it with the command given.
setting() {
  local name=$1 value
  shift
  value=$(sed -n "s/^$name=//p" "$DIR/settings")
  if [[ -z $value ]]; then
    value=$("$@") || return 1
    echo "$name=$value" >>"$DIR/settings"
  fi
  echo "$value"
}

random_key() { od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n' | head -c "$1"; }

# --- ports -----------------------------------------------------------------------------------------------------------

# A reservation is a file that only one command can create: two sets that start at once never take the same port.
ports=/tmp/millrace-ports.$(id -u)

# Below the range from which the kernel hands out ports to outgoing connections.
free_port() {
  local port tries
  mkdir -p "$ports"
  for ((tries = 0; tries < 200; tries++)); do
    port=$((20000 + RANDOM % 12000))
    (set -o noclobber; echo "$DIR" >"$ports/$port") 2>/dev/null || continue
    if ! connects "$port"; then echo "$port"; return; fi
  done
  fail "no free port found; stale reservations are in $ports"
}

connects() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

release_ports() {
  local port
  while read -r port; do rm -f "${ports:?}/$port"; done < <(sed -n 's/^.*_port=//p' "$DIR/settings")
}

# --- processes -------------------------------------------------------------------------------------------------------

# Starts a server below a keeper that reaps it: under an init that reaps nobody, a killed Postgres would stay a zombie and its lock file
# would block the next start. The pid file holds the id and the start time, so that a recycled id is never signalled; it is empty once the
# server has ended.
# shellcheck disable=SC2016
launch() {
  local home=$DIR/$1
  shift
  rm -f "$home/pid"
  setsid bash -c '
    home=$1; shift
    cd /
    "$@" &
    read -r stat <"/proc/$!/stat" && fields=(${stat##*) }) && echo "$! ${fields[19]}" >"$home/pid"
    wait "$!"
    echo "ended with status $?"
    : >"$home/pid"
  ' keeper "$home" "$@" </dev/null >>"$home/log" 2>&1 9>&- &
  disown
  await 30 test -e "$home/pid" || fail "$home: the server could not be run"
}

pid_of() { cut -d' ' -f1 "$DIR/$1/pid" 2>/dev/null; }

alive() {
  local pid started stat fields
  read -r pid started 2>/dev/null <"$DIR/$1/pid" || return 1
  read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
  # shellcheck disable=SC2206
  fields=(${stat##*) })
  [[ ${fields[19]} == "$started" && ${fields[0]} != Z ]]
}

gone() { ! alive "$1"; }

# Sends a signal and, after the seconds given, SIGKILL.
end_process() {
  local service=$1 signal=$2 seconds=$3 pid
  alive "$service" || return 0
  pid=$(pid_of "$service")
  kill -s "$signal" "$pid" 2>/dev/null || true
  await "$seconds" gone "$service" && return 0
  say "$service did not end within $seconds s of $signal; killing it"
  kill -s KILL "$pid" 2>/dev/null || true
  await 10 gone "$service" || fail "$service does not die (process $pid)"
}

# Polls a condition until it holds; fails when the seconds are over.
await() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

# Waits for health. A server that ended at once is started again a few times: after a kill, Postgres refuses as long as the last
# process of the dead server holds its shared memory.
await_health() {
  local service=$1 deadline=$((SECONDS + 180)) starts=1
  until "${service}_healthy"; do
    if ! alive "$service"; then
      ((starts++ < 20)) || { tail -n 20 "$DIR/$service/log" >&2; fail "$service does not start; its log is $DIR/$service/log"; }
      sleep 0.5
      "${service}_launch"
    fi
    ((SECONDS < deadline)) || { tail -n 20 "$DIR/$service/log" >&2; fail "$service is not healthy after 180 s; its log is $DIR/$service/log"; }
    sleep 0.2
  done
}
