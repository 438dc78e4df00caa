"""The held-out tasks: a development set for watching the training, and the examples that nothing is ever tuned on. Their values are disjoint from training.

    python held_out.py ../../examples       writes documents.jsonl and documents.expected.jsonl
    python held_out.py FOLDER 10            writes files of the same names with ten rounds of the development set, 2,000 documents
"""
import json
import random
import sys
from pathlib import Path

from documents import held_out_sample

MODEL = "millrace-nano"
# task, kind of document (None: any), how many
MIX = [
    ("extract", "invoice", 28),
    ("extract", "receipt", 22),
    ("extract", "delivery_note", 22),
    ("extract", "support_ticket", 18),
    ("classify", "invoice", 8),
    ("classify", "receipt", 8),
    ("classify", "delivery_note", 8),
    ("classify", "support_ticket", 26),
    ("summarise", None, 60),
]
DEVELOPMENT_START = 1_000_000


def examples():
    """The 200 examples, mixed."""
    return mixed(start=0)


def development(rounds=2):
    """As many again per round, other documents: for decisions during training."""
    return [sample for i in range(rounds) for sample in mixed(DEVELOPMENT_START + 1000 * i)]


def mixed(start):
    """One sample after another of every task, half of them in German, some with thinking."""
    samples = []
    for task, kind, count in MIX:
        for i in range(count):
            language, thinking = ["en", "de"][i % 2], i % 10 in (3, 6) and i < 40
            samples.append(held_out_sample(start + len(samples), task, language, thinking, kind))
    random.Random(start).shuffle(samples)
    return samples


def request(number, sample):
    """One line of a batch file."""
    body = {"model": MODEL, "messages": sample.messages, "max_tokens": 256, "temperature": 0}
    if sample.thinking:
        body["chat_template_kwargs"] = {"enable_thinking": True}
    return {"custom_id": custom_id(number, sample), "method": "POST", "url": "/v1/chat/completions", "body": body}


def custom_id(number, sample):
    return f"{sample.task}-{sample.language}-{number:03d}"


def expected(number, sample):
    answer = json.loads(sample.answer) if sample.task == "extract" else sample.answer
    return {"custom_id": custom_id(number, sample), "expected": answer}


def write(directory, samples):
    for name, line in [("documents.jsonl", request), ("documents.expected.jsonl", expected)]:
        lines = [json.dumps(line(i, sample), ensure_ascii=False, separators=(",", ":")) for i, sample in enumerate(samples, 1)]
        (directory / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), development(int(sys.argv[2])) if len(sys.argv) > 2 else examples())
