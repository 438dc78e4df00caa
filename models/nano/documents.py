"""Tasks on synthetic business documents: chat messages, reasoning and the one right answer. Every sample is a function of its seed and number.

    python documents.py --count 3           shows training samples
    python documents.py --hash 40000        the SHA-256 over that many training samples; --start skips some
"""
import argparse
import hashlib
import json
import random
from dataclasses import dataclass

from layouts import delivery_note, invoice, receipt
from names import Pool
from tickets import ticket

SEED = 20261123
EXTRACT = {
    "en": ["Extract these fields as JSON: {}.", "Return the following as compact JSON: {}."],
    "de": ["Gib diese Felder als JSON aus: {}.", "Lies als kompaktes JSON aus: {}."],
}
DOCUMENT_KINDS = "invoice, receipt, delivery_note, support_ticket"
CATEGORIES = "defect, delivery, billing, account"
CLASSIFY = {
    "en": ["Classify this document as one of: {}. Answer with the label only.", "Which of these is it: {}? Answer with one label."],
    "de": ["Ordne das Dokument ein: {}. Antworte nur mit dem Wort.", "Was davon ist es: {}? Antworte mit einem Wort."],
}
SUMMARISE = {
    "en": ["Summarise this ticket in one line.", "Write a one-line summary of this support ticket."],
    "de": ["Fasse dieses Ticket in einer Zeile zusammen.", "Schreibe eine einzeilige Zusammenfassung dieses Tickets."],
}
FIELDS = {
    "invoice": ["vendor", "invoice_no", "date", "total", "currency"],
    "receipt": ["store", "date", "total", "currency", "payment"],
    "delivery_note": ["supplier", "delivery_no", "order_no", "date", "recipient", "weight_kg"],
    "support_ticket": ["customer", "order_no", "product"],
}
MAKERS = {"invoice": invoice, "receipt": receipt, "delivery_note": delivery_note, "support_ticket": ticket}


@dataclass
class Sample:
    task: str
    language: str
    messages: list
    thinking: bool
    reasoning: str
    answer: str

    def line(self):
        """The sample as one line of JSON, the form that is hashed."""
        return json.dumps(vars(self), ensure_ascii=False)


def training_sample(number, seed=SEED):
    """Sample `number` of the training stream: copying drills first, documents more and more."""
    rng = random.Random(seed * 1_000_003 + number)
    pool = Pool(rng, held_out=False)
    drills = min(0.85, max(0.04, 1.2 - number / 8_000))
    if rng.random() < drills:
        return rng.choice([repeat_drill, record_drill])(pool)
    task = rng.choices(["extract", "classify", "summarise"], [65, 8, 27])[0]
    return document_sample(pool, task, rng.choice(["en", "de"]), thinking=rng.random() < 0.25)


def held_out_sample(number, task, language, thinking, kind=None, seed=SEED):
    """A sample whose names, numbers, dates and ids never occur in training."""
    pool = Pool(random.Random(-seed * 1_000_003 - number), held_out=True)
    return document_sample(pool, task, language, thinking, kind)


def document_sample(pool, task, language, thinking, kind=None):
    if task == "extract":
        kind = kind or pool.pick(list(MAKERS))
        document = MAKERS[kind](pool, language)
        return extraction(pool, document, thinking)
    if task == "classify":
        kind = kind or pool.pick(list(MAKERS) + ["support_ticket", "support_ticket"])
        return classification(pool, MAKERS[kind](pool, language), thinking)
    return summary(pool, ticket(pool, language), thinking)


def extraction(pool, document, thinking):
    """Some or all of the fields, asked for by name, as a JSON object in the order asked."""
    keys = FIELDS[document.kind]
    if pool.rng.random() < 0.4:
        keep = set(pool.rng.sample(keys, pool.rng.randrange(2, len(keys))))
        keys = [key for key in keys if key in keep]
    instruction = pool.pick(EXTRACT[document.language]).format(", ".join(keys))
    found = {key: document.fields[key] for key in keys}
    reasoning = "\n".join(f"{key} {field.where}: {field.raw}" for key, field in found.items())
    answer = "{" + ",".join(f'"{key}":{json_value(field.value)}' for key, field in found.items()) + "}"
    return chat(pool, "extract", document, instruction, thinking, reasoning, answer)


def json_value(value):
    """Amounts keep their two decimals, so that their digits can be copied."""
    return f"{value:.2f}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def classification(pool, document, thinking):
    """The kind of a document, or for tickets also what they are about."""
    by_category = document.kind == "support_ticket" and pool.rng.random() < 0.8
    labels, answer = (CATEGORIES, document.category) if by_category else (DOCUMENT_KINDS, document.kind)
    instruction = pool.pick(CLASSIFY[document.language]).format(labels)
    says = {"en": "It says", "de": "Es steht da"}[document.language]
    reasoning = f"{says}: {document.evidence}"
    return chat(pool, "classify", document, instruction, thinking, reasoning, answer)


def summary(pool, document, thinking):
    instruction = pool.pick(SUMMARISE[document.language])
    found = [document.fields[key] for key in ["customer", "problem", "product", "order_no", "wish"]]
    reasoning = "\n".join(f"{field.where}: {field.raw}" for field in found)
    return chat(pool, "summarise", document, instruction, thinking, reasoning, document.summary)


def chat(pool, task, document, instruction, thinking, reasoning, answer):
    """The instruction stands above the document, or in the system message."""
    if pool.rng.random() < 0.2:
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": document.text}]
    else:
        messages = [{"role": "user", "content": f"{instruction}\n\n{document.text}"}]
    return Sample(task, document.language, messages, thinking, reasoning if thinking else "", answer)


def repeat_drill(pool):
    """Copy a list of invented words: the quickest way to learn to copy at all."""
    words = [drill_value(pool) for _ in range(pool.rng.randrange(3, 13))]
    text = pool.pick(["\n", ", ", " "]).join(words)
    return Sample("drill", "en", [{"role": "user", "content": f"Repeat:\n{text}"}], False, "", text)


def record_drill(pool):
    """Find some of many labelled values: looking up by label, without the documents' fixed vocabulary."""
    keys = list(dict.fromkeys(pool.name() for _ in range(pool.rng.randrange(5, 10))))
    record = {key: drill_value(pool) for key in keys}
    asked = pool.rng.sample(keys, pool.rng.randrange(2, 5))
    instruction = pool.pick(EXTRACT["en"]).format(", ".join(asked))
    text = "\n".join(f"{key}: {value}" for key, value in record.items())
    answer = json.dumps({key: record[key] for key in asked}, ensure_ascii=False, separators=(",", ":"))
    return Sample("drill", "en", [{"role": "user", "content": f"{instruction}\n\n{text}"}], False, "", answer)


def drill_value(pool):
    return pool.pick([pool.name, pool.person, lambda: pool.company("de"), lambda: pool.digits(5), lambda: f"{pool.name()} {pool.digits(3)}"])()


def training_hash(count, start=0, seed=SEED):
    """SHA-256 over `count` samples of the training stream, one line each."""
    digest = hashlib.sha256()
    for number in range(start, start + count):
        digest.update(training_sample(number, seed).line().encode() + b"\n")
    return digest.hexdigest()


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--count", type=int, default=3)
    flags.add_argument("--start", type=int, default=0)
    flags.add_argument("--hash", type=int, metavar="COUNT")
    options = flags.parse_args()
    if options.hash:
        print(training_hash(options.hash, options.start))
        return
    for number in range(options.start, options.start + options.count):
        sample = training_sample(number)
        print(*(f"[{m['role']}] {m['content']}" for m in sample.messages), f"[think] {sample.reasoning}", f"[answer] {sample.answer}\n", sep="\n")


if __name__ == "__main__":
    main()
