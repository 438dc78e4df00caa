# SeaweedFS: the realistic S3 server, master, volume, filer and gateway in one process, for at least one end-to-end run.
# shellcheck shell=bash

seaweedfs_prepare() {
  [[ -x $RUN/venv/bin/weed ]] || fail "no SeaweedFS found: run 'infra/services install seaweedfs'"
  mkdir -p "$DIR/seaweedfs/data"
  install -m 600 /dev/null "$DIR/seaweedfs/s3.json"
  cat >"$DIR/seaweedfs/s3.json" <<END
{"identities": [{"name": "millrace", "actions": ["Admin", "Read", "Write", "List", "Tagging"], "credentials":
  [{"accessKey": "$(setting s3_access_key random_key 20)", "secretKey": "$(setting s3_secret_key random_key 40)"}]}]}
END
}

# Every port is named: the defaults are fixed numbers, ten thousand apart from each other.
seaweedfs_launch() {
  launch seaweedfs env HOME="$DIR/seaweedfs" "$RUN/venv/bin/weed" server -dir="$DIR/seaweedfs/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="$(setting weed_master_port free_port)" -master.port.grpc="$(setting weed_master_grpc_port free_port)" \
    -volume.port="$(setting weed_volume_port free_port)" -volume.port.grpc="$(setting weed_volume_grpc_port free_port)" \
    -filer -filer.port="$(setting weed_filer_port free_port)" -filer.port.grpc="$(setting weed_filer_grpc_port free_port)" \
    -s3 -s3.port="$(setting seaweedfs_port free_port)" -s3.port.grpc="$(setting weed_s3_grpc_port free_port)" \
    -s3.config="$DIR/seaweedfs/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 -s3.ip.bind=127.0.0.1 \
    -master.telemetry=false -master.electionTimeout=1s -master.volumeSizeLimitMB=256 -volume.max=100
}

seaweedfs_healthy() { bucket_ready "$(setting seaweedfs_port false)"; }

seaweedfs_env() { echo "export MILLRACE_TEST_SEAWEEDFS_URL='$(bucket_url "$(setting seaweedfs_port false)")'"; }

# It takes 15 to 25 s to leave after SIGTERM, and what it acknowledged survives a kill.
seaweedfs_stop() { end_process seaweedfs KILL 5; }
