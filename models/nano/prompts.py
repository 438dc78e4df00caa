"""Samples as token ids: the rendered chat template, the reasoning, the answer, and how much each token counts in the loss."""
import json
from dataclasses import dataclass

import jinja2
import torch
from tokenizers import Tokenizer

PROMPT_WEIGHT = 0.1
PAD = 2


@dataclass
class Encoded:
    ids: list
    prompt_length: int


class Prompts:
    """The tokenizer directory, ready to encode."""

    def __init__(self, directory):
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        config = json.loads((directory / "tokenizer_config.json").read_text())
        self.tokens = {key: config[key] for key in ["bos_token", "eos_token"]}
        self.template = jinja2.Environment().from_string(config["chat_template"])

    def prompt(self, messages, thinking):
        text = self.template.render(messages=messages, add_generation_prompt=True, enable_thinking=thinking, **self.tokens)
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode(self, sample):
        """Prompt and continuation are encoded apart, as they are when a model continues a prompt."""
        prompt = self.prompt(sample.messages, sample.thinking)
        answer = (f"{sample.reasoning}\n</think>" if sample.thinking else "") + sample.answer + self.tokens["eos_token"]
        return Encoded(prompt + self.tokenizer.encode(answer, add_special_tokens=False).ids, len(prompt))


def padded(encoded):
    """Ids [rows, length] and the loss weight of predicting each of ids[:, 1:]. Padding comes last, where causal attention never looks."""
    length = max(len(e.ids) for e in encoded)
    ids = torch.full((len(encoded), length), PAD)
    weights = torch.zeros(len(encoded), length - 1)
    for row, e in enumerate(encoded):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        weights[row, : e.prompt_length - 1] = PROMPT_WEIGHT
        weights[row, e.prompt_length - 1 : len(e.ids) - 1] = 1.0
    return ids, weights


def batches(encoded, tokens_max):
    """Rows of like length together, at most tokens_max tokens with their padding."""
    batch, found = [], []
    for e in sorted(encoded, key=lambda e: len(e.ids)):
        if batch and len(e.ids) * (len(batch) + 1) > tokens_max:
            found.append(batch)
            batch = []
        batch.append(e)
    return found + [batch]
