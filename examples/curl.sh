#!/usr/bin/env bash
# The whole service with curl alone: upload a file, run it as a batch, download the answers; then a single chat that is answered later.
# With MILLRACE_WEBHOOK_URL (and MILLRACE_WEBHOOK_SECRET) the batch also announces its end there.
set -euo pipefail

url=${MILLRACE_URL:-http://127.0.0.1:8080}
model=millrace-nano
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Everything a call needs: the key where there is one, a limit on waiting, the error's text and a failure on any status from 400 up.
call() {
  curl --silent --show-error --fail-with-body --max-time 60 \
    ${MILLRACE_API_KEY:+--header "Authorization: Bearer $MILLRACE_API_KEY"} "$@"
}

json=(--header 'Content-Type: application/json' --data)

# The first string field of that name in a JSON answer. (With jq at hand: jq -r .NAME)
field() { grep -o "\"$1\": *\"[^\"]*\"" | head -n 1 | cut -d'"' -f4; }

# Repeats a command each half second until it succeeds; gives up after five minutes.
wait_until() {
  local deadline=$((SECONDS + 300))
  until "$@"; do
    ((SECONDS < deadline)) || { echo "gave up waiting" >&2; exit 1; }
    sleep 0.5
  done
}

# The body of a chat request about an invoice.
chat_body() {
  local document="Harbour Paper Ltd\nInvoice\nInvoice no: INV-2041$1\nDate: 2025-03-0$1\n12 x labels 38.68\nTotal: 46.42 EUR"
  echo "{\"model\":\"$model\",\"max_tokens\":256,\"messages\":[{\"role\":\"user\",\"content\":\"Extract these fields as JSON: vendor, invoice_no, total.\n\n$document\"}]}"
}

input=${1:-$work/input.jsonl}
if [[ $# -eq 0 ]]; then
  for i in 1 2 3; do
    echo "{\"custom_id\":\"line-$i\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":$(chat_body "$i")}" >>"$input"
  done
fi

file=$(call "$url/v1/files" --form purpose=batch --form "file=@$input" | field id)
echo "uploaded $input as $file"

webhook=
if [[ -n ${MILLRACE_WEBHOOK_URL:-} ]]; then
  webhook=",\"webhook\":{\"url\":\"$MILLRACE_WEBHOOK_URL\"${MILLRACE_WEBHOOK_SECRET:+,\"secret\":\"$MILLRACE_WEBHOOK_SECRET\"}}"
fi
batch=$(call "$url/v1/batches" "${json[@]}" \
  "{\"input_file_id\":\"$file\",\"endpoint\":\"/v1/chat/completions\",\"completion_window\":\"24h\"$webhook}" | field id)
echo "created $batch"

batch_ended() {
  call "$url/v1/batches/$batch" >"$work/batch.json"
  [[ $(field status <"$work/batch.json") =~ ^(completed|failed|expired|cancelled)$ ]]
}
wait_until batch_ended
status=$(field status <"$work/batch.json")
echo "$batch is $status"
[[ $status == completed ]] || { cat "$work/batch.json" >&2; exit 1; }

output=$(field output_file_id <"$work/batch.json")
call "$url/v1/files/$output/content" --output "$work/output.jsonl"
echo "downloaded $(wc -l <"$work/output.jsonl") answers from $output:"
head -n 3 "$work/output.jsonl"

# A single request that need not be waited for: 202 and a place to look.
location=$(call "$url/v1/chat/completions" --header 'Prefer: respond-async' --dump-header - --output /dev/null "${json[@]}" "$(chat_body 4)" \
  | tr -d '\r' | sed -n 's/^[Ll]ocation: *//p')
echo "a single request waits at $location"
chat_ended() { [[ $(call "$url$location" --output "$work/chat.json" --write-out '%{http_code}') == 200 ]]; }
wait_until chat_ended
echo "and was answered:"
cat "$work/chat.json"
echo
