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


def golden(model, tokenizer, request):
    """Prompt ids, the greedy continuation, and the largest logits after the prompt as [id, logit]."""
    text = rendered(tokenizer, request["body"])
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
        # Past the end of the answer as well: 32 tokens whatever they are.
        out = model.generate(ids, max_new_tokens=GREEDY, min_new_tokens=None, do_sample=False, eos_token_id=-1)
    top = logits.topk(TOP)
    return {
        "custom_id": request["custom_id"],
        "prompt": text,
        "prompt_ids": ids[0].tolist(),
        "greedy_ids": out[0, ids.shape[1] :].tolist(),
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
