"""The whole service with OpenAI's Python library, unmodified: a batch from upload to answers, then one chat that waits for its answer."""

import json
import os
import sys
import time

from openai import OpenAI

MODEL = "millrace-nano"
ENDED = {"completed", "failed", "expired", "cancelled"}


def main() -> None:
    client = OpenAI(
        base_url=os.environ.get("MILLRACE_URL", "http://127.0.0.1:8080") + "/v1",
        # The library insists on a key; an embedded server on loopback does not look at it.
        api_key=os.environ.get("MILLRACE_API_KEY", "none"),
    )
    lines = open(sys.argv[1], "rb").read() if len(sys.argv) > 1 else example_lines()
    run_batch(client, lines)
    chat(client)


def run_batch(client: OpenAI, lines: bytes) -> None:
    file = client.files.create(file=("input.jsonl", lines), purpose="batch")
    print(f"uploaded {file.bytes} bytes as {file.id}")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    print(f"created {batch.id}")

    deadline = time.monotonic() + 300
    while batch.status not in ENDED:
        if time.monotonic() > deadline:
            sys.exit(f"{batch.id} is still {batch.status}")
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
    counts = batch.request_counts
    print(f"{batch.id} is {batch.status}: {counts.completed} of {counts.total} answered, {counts.failed} failed")
    if batch.status != "completed":
        sys.exit(f"errors: {batch.errors}")

    answers = {}
    if batch.output_file_id:
        for line in client.files.content(batch.output_file_id).text.splitlines():
            answer = json.loads(line)
            answers[answer["custom_id"]] = answer["response"]["body"]["choices"][0]["message"]["content"]
    for custom_id, text in sorted(answers.items())[:3]:
        print(f"  {custom_id}: {text}")
    if len(answers) != counts.total:
        sys.exit(f"{counts.total - len(answers)} requests have no answer; see {batch.error_file_id}")


def chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": document(4)}],
        max_tokens=256,
    )
    print(f"chat {answer.id}: {answer.choices[0].message.content} ({answer.usage.total_tokens} tokens)")


def example_lines() -> bytes:
    def line(i: int) -> dict:
        body = {"model": MODEL, "messages": [{"role": "user", "content": document(i)}], "max_tokens": 256}
        return {"custom_id": f"line-{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}

    return "".join(json.dumps(line(i)) + "\n" for i in range(1, 4)).encode()


def document(i: int) -> str:
    task = "Extract these fields as JSON: vendor, invoice_no, total."
    return f"{task}\n\nHarbour Paper Ltd\nInvoice\nInvoice no: INV-2041{i}\nDate: 2025-03-0{i}\n12 x labels 38.68\nTotal: 46.42 EUR"


if __name__ == "__main__":
    main()
