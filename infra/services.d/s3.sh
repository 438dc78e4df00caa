# The everyday S3 server: s3s-fs, ten megabytes of memory, up in a moment. SeaweedFS, the realistic one, is in seaweedfs.sh.
# shellcheck shell=bash

s3_prepare() {
  [[ -x $RUN/bin/s3s-fs ]] || fail "no s3s-fs found: run 'infra/services install s3'"
  mkdir -p "$DIR/s3/data"
}

s3_launch() {
  launch s3 env RUST_LOG=warn "$RUN/bin/s3s-fs" --host 127.0.0.1 --port "$(setting s3_port free_port)" \
    --access-key "$(setting s3_access_key random_key 20)" --secret-key "$(setting s3_secret_key random_key 40)" "$DIR/s3/data"
}

s3_healthy() { bucket_ready "$(setting s3_port false)"; }

# Healthy means: our key is accepted and the bucket is there.
bucket_ready() {
  connects "$1" && { s3_call "$1" --head || { s3_call "$1" --request PUT && s3_call "$1" --head; }; }
}

# The hash is that of an empty body: curl before 8 signs with it but does not send it.
s3_call() {
  local port=$1 empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  shift
  curl --silent --fail --max-time 5 --output /dev/null --aws-sigv4 aws:amz:us-east-1:s3 --header "x-amz-content-sha256: $empty" \
    --user "$(setting s3_access_key false):$(setting s3_secret_key false)" "$@" "http://127.0.0.1:$port/millrace"
}

s3_env() { echo "export MILLRACE_TEST_OBJECTS_URL='$(bucket_url "$(setting s3_port false)")'"; }

bucket_url() { echo "s3://millrace/test?endpoint=http://127.0.0.1:$1&path-style"; }

s3_stop() { end_process s3 TERM 5; }
