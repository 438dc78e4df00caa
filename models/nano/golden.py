"""Writes golden.json: what transformers computes in f32 with the shipped weights, for the engine to reproduce.

    python golden.py ../millrace-nano ../../examples
"""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluate import lines, rendered

PROMPTS, GREEDY, TOP = 5, 32, 64


@torch.no_grad()
def golden(model, tokenizer, request):
    """Prompt ids, the greedy continuation (past the end of the answer too), and the largest logits after the prompt as [id, logit]."""
    text = rendered(tokenizer, request["body"])
    prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    logits = model(prompt).logits[0, -1]
    ids = prompt
    for _ in range(GREEDY):
        next_id = model(ids, use_cache=False).logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, next_id], dim=1)
    top = logits.topk(TOP)
    return {
        "custom_id": request["custom_id"],
        "prompt": text,
        "prompt_ids": prompt[0].tolist(),
        "greedy_ids": ids[0, prompt.shape[1] :].tolist(),
        "top_logits": [[index, round(value, 6)] for index, value in zip(top.indices.tolist(), top.values.tolist())],
    }


def main(directory, examples):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    requests = lines(examples / "documents.jsonl")
    thinking = [r for r in requests if "chat_template_kwargs" in r["body"]]
    chosen = requests[: PROMPTS - 2] + thinking[:2]
    cases = [golden(model, tokenizer, request) for request in chosen]
    (directory / "golden.json").write_text(json.dumps({"dtype": "float32", "cases": cases}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
