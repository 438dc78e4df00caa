"""Scores answers to the held-out examples: of a model directory by transformers, or of an output file that `millrace run` wrote.

    python evaluate.py ../../examples --model ../millrace-nano
    python evaluate.py ../../examples --output out.jsonl
"""
import argparse
import json
from collections import defaultdict
from pathlib import Path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def equal(content, expected):
    """Text must be the same; JSON must be the same value."""
    if isinstance(expected, str):
        return content == expected
    try:
        return json.loads(content) == expected
    except json.JSONDecodeError:
        return False


def answers_of_output(path):
    """custom_id to content, from a batch output file; a failed line has no content."""
    answers = {}
    for line in lines(path):
        body = (line.get("response") or {}).get("body") or {}
        choices = body.get("choices") or [{}]
        answers[line["custom_id"]] = (choices[0].get("message") or {}).get("content") or ""
    return answers


def answers_of_model(directory, requests, rows=25):
    """custom_id to content, by greedy decoding in f32 with transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    answers = {}
    for start in range(0, len(requests), rows):
        part = requests[start : start + rows]
        prompts = [rendered(tokenizer, request["body"]) for request in part]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=part[0]["body"]["max_tokens"], do_sample=False)
        for request, ids in zip(part, out[:, batch["input_ids"].shape[1] :]):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            answers[request["custom_id"]] = text.split("</think>")[-1]
    return answers


def rendered(tokenizer, body):
    arguments = body.get("chat_template_kwargs", {})
    return tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True, **arguments)


def report(requests, expected, answers):
    """Prints the share of right answers by task, and by task, language and thinking."""
    right, seen = defaultdict(int), defaultdict(int)
    for request in requests:
        custom_id = request["custom_id"]
        task, language, _ = custom_id.split("-")
        thinking = "thinking" if "chat_template_kwargs" in request["body"] else "direct"
        exact = equal(answers.get(custom_id, ""), expected[custom_id])
        for key in [task, f"  {task} {language} {thinking}"]:
            seen[key] += 1
            right[key] += exact
        if not exact:
            print(f"wrong {custom_id}: {answers.get(custom_id)!r}, expected {expected[custom_id]!r}")
    for key in sorted(seen, key=lambda key: (key.strip(), key)):
        print(f"{key:32} {right[key]:3} of {seen[key]:3}  {100 * right[key] / seen[key]:5.1f} %")


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("examples", type=Path, help="directory of documents.jsonl and documents.expected.jsonl")
    source = flags.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path)
    source.add_argument("--output", type=Path)
    options = flags.parse_args()
    requests = lines(options.examples / "documents.jsonl")
    expected = {line["custom_id"]: line["expected"] for line in lines(options.examples / "documents.expected.jsonl")}
    answers = answers_of_model(options.model, requests) if options.model else answers_of_output(options.output)
    report(requests, expected, answers)


if __name__ == "__main__":
    main()
