"""Trains nano's tokenizer: byte-level BPE with single digits, R1's special tokens and R1's chat template.

    python tokenizer.py ../millrace-nano
"""
import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from documents import training_sample

VOCABULARY = 1024
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
SPECIAL = [BOS, EOS, PAD, "<｜User｜>", "<｜Assistant｜>"]
THINKING = ["<think>", "</think>"]

# Digits stand alone, and a capitalised word never takes the space before it along:
# a name is spelled by the same tokens after a space, a quote or a line break, which makes copying it easy.
PIECES = r"\p{N}|\p{Lu}{2,}(?!\p{Ll})|\p{Lu}\p{Ll}*| ?\p{Ll}+|\n| (?=[\p{Lu}\p{N}])| ?[^\s\p{L}\p{N}]+|\s"

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<｜Assistant｜>' + message['content'].split('</think>')[-1] + eos_token }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}"
    "{% if enable_thinking is defined and enable_thinking %}{{ '<think>\\n' }}{% endif %}"
    "{% endif %}"
)


def train(samples=20_000, first=20_000):
    """A tokenizer from the texts of the training stream, past its copying drills."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL + THINKING,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(samples, first), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in THINKING])
    return tokenizer


def texts(samples, first):
    for number in range(first, first + samples):
        sample = training_sample(number)
        yield from (message["content"] for message in sample.messages)
        yield sample.reasoning
        yield sample.answer


def mark_thinking_as_plain(path):
    """As in R1, the think markers are one token each but survive decoding without special tokens."""
    content = json.loads(path.read_text())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")


def save(tokenizer, directory):
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    mark_thinking_as_plain(directory / "tokenizer.json")
    config = {
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    save(train(), Path(sys.argv[1]))
