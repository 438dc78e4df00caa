#!/usr/bin/env python3
"""Writes engine/tests/fixtures/text/golden.json: the token ids and rendered chats that transformers gives (development only).

Needs transformers 5.23 with jinja2, tiktoken, and the folder that `infra/services install tokenizers` makes:
    python engine/scripts/text_golden.py infra/.run/tokenizers

R1 has V3's vocabulary, so it is rendered with that, in two revisions of its template: the current one, which ends in <think>, and the one
of its release, `r1_at_release.jinja`, read from the header of the GGUF of R1-Distill-Qwen-7B (MIT). Moonlight has no fast tokenizer: its ids
are those of tiktoken itself, on Moonshot's vocabulary. `moonlight.json` has the form and the special tokens of Moonlight's
tokenizer_config.json, and a template that writes the same prompts.

Conversations are stored as a client sends them. transformers gets the arguments of calls as objects and an empty content where a template
cannot do with less. It drops a content that is null, upon which DeepSeek's templates fail, though they ask for null: for these the
messages go straight to transformers' renderer, which is what release 4 did.
"""

import base64
import json
import pathlib
import random
import sys

import tiktoken
import transformers
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from text_corpus import CONVERSATIONS, TEXTS

FIXTURES = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "text"

# vocabulary: template: (file, or None for the vocabulary's own; content may be null; arguments of calls are objects)
TEMPLATES = {
    "deepseek_v3": {
        "V3": (None, True, False),
        "V3 0324": ("templates/deepseekv3.jinja", True, False),
        "R1": ("templates/deepseek_r1_distill.jinja", True, False),
        "R1 at release": ("r1_at_release.jinja", True, False),
    },
    "qwen3": {"Qwen3": (None, False, False), "Qwen3 revised": ("templates/qwen3.jinja", False, False)},
    "llama3_1": {"Llama-3": (None, False, False), "Llama-3.1": ("templates/llama3_1.jinja", False, True)},
    "moonlight": {"Moonlight": (None, False, False)},
}

LLAMA = "|".join([r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+",
                  r"\s+(?!\S)", r"\s+"])
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


class Moonlight:
    """What tokenization_moonshot.py does: tiktoken, with a name for each special id up to the last."""

    def __init__(self, folder):
        lines = (folder / "tiktoken.model").read_bytes().splitlines()
        ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
        config = json.loads((FIXTURES / "moonlight.json").read_text())
        named = {int(id): token["content"] for id, token in config["added_tokens_decoder"].items()}
        special = {named.get(id, f"<|reserved_token_{id}|>"): id for id in range(len(ranks), max(named) + 1)}
        self.encoding = tiktoken.Encoding("moonlight", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)
        self.special_tokens_map = {"bos_token": config["bos_token"], "eos_token": config["eos_token"]}
        self.chat_template = config["chat_template"]

    def encode(self, text, add_special_tokens):
        return self.encoding.encode(text, allowed_special="all")


def load(root, name):
    return Moonlight(root / name) if name == "moonlight" else AutoTokenizer.from_pretrained(root / name)


def render(tokenizer, template, null_content, objects, conversation):
    """The rendered chat, or what the template raises."""
    messages = json.loads(json.dumps(conversation["messages"]))
    for message in messages:
        if message.get("content") is None and not null_content:
            message["content"] = ""
        for call in message.get("tool_calls", []) if objects else []:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    given = dict(tools=conversation.get("tools"), chat_template=template, add_generation_prompt=True,
                 **conversation.get("arguments", {}))
    try:
        if isinstance(tokenizer, Moonlight) or any(message["content"] is None for message in messages):
            return render_jinja_template([messages], **given, **tokenizer.special_tokens_map)[0][0]
        return tokenizer.apply_chat_template(messages, tokenize=False, **given)
    except Exception as error:  # whatever Jinja raises
        return {"error": str(error)}


def rendered(tokenizer, template, null_content, objects):
    chats = [render(tokenizer, template, null_content, objects, conversation) for conversation in CONVERSATIONS]
    ids = [tokenizer.encode(chat, add_special_tokens=False) if isinstance(chat, str) else None for chat in chats]
    return [{"text": chat, "ids": ids} if ids is not None else chat for chat, ids in zip(chats, ids)]


def check_converted(tokenizer, ids):
    """The test converts Llama's vocabulary to tiktoken's form; tiktoken itself agrees with tokenizer.json on it."""
    alphabet = {character: byte for byte, character in transformers.convert_slow_tokenizer.bytes_to_unicode().items()}
    added = tokenizer.get_added_vocab()
    ranks = {bytes(alphabet[c] for c in word): id for word, id in tokenizer.get_vocab().items() if word not in added}
    encoding = tiktoken.Encoding("llama", pat_str=LLAMA, mergeable_ranks=ranks, special_tokens=added)
    assert [encoding.encode(text, allowed_special="all") for text in TEXTS] == ids


def main(root):
    vocabularies = {}
    for name, templates in TEMPLATES.items():
        tokenizer = load(root, name)
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
        if name == "llama3_1":
            check_converted(tokenizer, ids)
        chats = {}
        for title, (file, null_content, objects) in templates.items():
            folder = root if file and file.startswith("templates/") else FIXTURES
            template = (folder / file).read_text() if file else tokenizer.chat_template
            chats[title] = {"file": file, "chats": rendered(tokenizer, template, null_content, objects)}
            failed = {c["name"]: chat["error"] for c, chat in zip(CONVERSATIONS, chats[title]["chats"]) if "error" in chat}
            print(f"{title}: {len(CONVERSATIONS)} conversations, refused: {failed}")
        vocabularies[name] = {"ids": ids, "templates": chats}
    golden = {"texts": TEXTS, "conversations": CONVERSATIONS, "vocabularies": vocabularies, "untrained": untrained()}
    (FIXTURES / "golden.json").write_text(lines(golden) + "\n")


def untrained():
    """Vocabularies that no training would make: words of two letters in any order, which merging often does not reach."""
    random.seed(7)
    cases = []
    for _ in range(20):
        words = sorted({"".join(random.choices("ab", k=random.randint(2, 7))) for _ in range(24)})
        tokens = [bytes([byte]) for byte in range(256)] + [word.encode() for word in words]
        random.shuffle(tokens)
        encoding = tiktoken.Encoding("untrained", pat_str=KIMI, mergeable_ranks={t: i for i, t in enumerate(tokens)}, special_tokens={})
        texts = ["".join(random.choices("ab", k=random.randint(1, 30))) for _ in range(10)]
        file = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
        cases.append({"file": file, "texts": texts, "ids": [encoding.encode(text) for text in texts]})
    return cases


def lines(value, depth=5):
    """JSON with the outer levels on lines of their own, so that a diff shows what changed."""
    if depth and isinstance(value, dict):
        inner = (f"{json.dumps(key)}: {lines(item, depth - 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(inner) + "\n}"
    if depth and isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
