# RabbitMQ: one private node with an epmd of its own; it and all its ports are on loopback, and the user guest never exists.
# shellcheck shell=bash

rabbitmq_bin() {
  local candidate
  for candidate in /usr/lib/rabbitmq/bin /usr/lib/rabbitmq/lib/*/sbin /opt/rabbitmq/sbin; do
    if [[ -x $candidate/rabbitmq-server ]]; then echo "$candidate"; return; fi
  done
  return 1
}

rabbitmq_prepare() {
  local home=$DIR/rabbitmq plugins=
  rabbitmq_bin >/dev/null || fail "no RabbitMQ found: run 'infra/services install rabbitmq'"
  mkdir -p "$home/data" "$DIR/epmd"
  if [[ ! -e $home/.erlang.cookie ]]; then
    random_key 32 >"$home/.erlang.cookie"
    chmod 400 "$home/.erlang.cookie"
  fi
  install -m 600 /dev/null "$home/rabbitmq.conf"
  # The default user is created whenever the node finds its data empty, so also after a wipe. The small write-ahead log saves memory.
  cat >"$home/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$(setting rabbitmq_port free_port)
default_user = millrace
default_pass = $(setting rabbitmq_password random_key 32)
raft.wal_max_size_bytes = 67108864
disk_free_limit.absolute = 50MB
END
  if [[ -e $DIR/rabbitmq/management ]]; then
    plugins=rabbitmq_management,rabbitmq_prometheus
    cat >>"$home/rabbitmq.conf" <<END
management.tcp.ip = 127.0.0.1
management.tcp.port = $(setting management_port free_port)
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $(setting prometheus_port free_port)
END
  fi
  echo "[$plugins]." >"$home/enabled_plugins"
}

# Runs one of RabbitMQ's programs on the node of DIR. Those in sbin are wrappers that change the user and drop the environment.
# epmd would listen everywhere without its address, and the distribution port without inet_dist_use_interface.
rabbitmq_tool() {
  local program=$1 home=$DIR/rabbitmq loopback='-kernel inet_dist_use_interface {127,0,0,1}'
  shift
  rabbitmq_environment=(
    HOME="$home" RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf"
    RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins"
    RABBITMQ_NODENAME=millrace@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$(setting rabbitmq_port false)"
    RABBITMQ_DIST_PORT="$(setting distribution_port free_port)" RABBITMQ_PID_FILE="$home/rabbitmq.pid"
    RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home" RABBITMQ_LOGS=-
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$(setting epmd_port free_port)"
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$loopback" RABBITMQ_CTL_ERL_ARGS="$loopback" ERL_CRASH_DUMP_SECONDS=0
    # With "input allowed" the script becomes the Erlang machine instead of waiting for it: the process we know is the broker.
    RABBITMQ_ALLOW_INPUT=1 RABBITMQ_SERVER_START_ARGS=-noinput
  )
  if [[ $program == rabbitmq-server ]]; then
    launch rabbitmq env "${rabbitmq_environment[@]}" "$(rabbitmq_bin)/$program"
  else
    env "${rabbitmq_environment[@]}" "$(rabbitmq_bin)/$program" "$@"
  fi
}

rabbitmq_launch() {
  if ! alive epmd; then
    launch epmd epmd -address 127.0.0.1 -port "$(setting epmd_port free_port)"
  fi
  rabbitmq_tool rabbitmq-server
}

# The listener opens last, and answers the protocol header with Connection.Start (a method frame on channel 0). A rabbitmqctl call
# would start a second Erlang machine for each look.
rabbitmq_healthy() {
  [[ $(amqp_greeting "$(setting rabbitmq_port false)" 2>/dev/null) == "01 00 00" ]]
}

amqp_greeting() {
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "AMQP\0\0\11\1" >&3 && head -c 3 <&3 | od -An -tx1' greeting "$1" | sed 's/^ *//'
}

rabbitmq_env() {
  echo "export MILLRACE_TEST_AMQP_URL=amqp://millrace:$(setting rabbitmq_password false)@127.0.0.1:$(setting rabbitmq_port false)/%2f"
  if [[ -e $DIR/rabbitmq/management ]]; then
    echo "export MILLRACE_TEST_MANAGEMENT_URL=http://millrace:$(setting rabbitmq_password false)@127.0.0.1:$(setting management_port false)"
  fi
}

rabbitmq_stop() {
  end_process rabbitmq TERM 30
  end_process epmd KILL 5
}
