#!/usr/bin/env python3
"""Compares the engine with its peers on the same weights and threads: pair by pair, each in turn, ratios from one run.

    compare.py MODEL --ours target/release/millrace \\
        --peer "llama.cpp bf16=llama-batched-bench -m model.gguf -npp {prompt} -ntg {answer} -npl {batch} -t {threads} -tb {threads} -c 40960" \\
        --peer "vllm=python bench_vllm_cpu.py {model} --batch {batch} --prompt {prompt} --answer {answer}" \\
        --batch 1,64,256 --dtype bf16 --rounds 3 -o docs/figures/peers-bf16.json

A peer is NAME=COMMAND. What it prints is either llama-batched-bench's table or a line with `prefill N` and `decode N` in tokens a second.
Every measurement is a process of its own; the median of the rounds counts. Other work on the machine spoils the figures: the load
average before each pair is kept beside them.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path


def main() -> None:
    arguments = parse()
    peers = dict(peer.split("=", 1) for peer in arguments.peer)
    results = []
    for prompt in arguments.prompt:
        for batch in arguments.batch:
            results.append(compare(arguments, peers, prompt, batch))
            print(json.dumps(results[-1]), flush=True)
    if arguments.output:
        figures = record("compare.py", arguments.dtype) | {"results": results}
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n")


def record(script: str, dtype: str) -> dict:
    """What every file of figures begins with."""
    return {
        "command": f"engine/scripts/{script} " + shlex.join(without_folders(word) for word in sys.argv[1:]),
        "date": datetime.date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "processor": processor()},
        "dtype": dtype,
    }


def without_folders(word: str) -> str:
    """Where a machine keeps its files is nobody else's concern."""
    return re.sub(r"(?<![\w.])/\S*/", "", word)


def compare(arguments, peers: dict[str, str], prompt: int, batch: int) -> dict:
    """Medians of all sides at one size, and ours divided by the better peer's."""
    place = {"model": arguments.model, "prompt": prompt, "answer": arguments.answer, "batch": batch, "threads": arguments.threads}
    rates = {name: {"prefill": [], "decode": []} for name in ["millrace", *peers]}
    loads = []
    for _ in range(arguments.rounds):
        loads.append(os.getloadavg()[0])
        sides = {"millrace": ours(arguments, place)} | {name: peer(command, place) for name, command in peers.items()}
        for name, (prefill, decode) in sides.items():
            rates[name]["prefill"].append(prefill)
            rates[name]["decode"].append(decode)
    medians = {name: {phase: round(statistics.median(values), 1) for phase, values in side.items()} for name, side in rates.items()}
    best = {phase: max((medians[name][phase] for name in peers), default=None) for phase in ("prefill", "decode")}
    ratios = {phase: round(medians["millrace"][phase] / rate, 2) for phase, rate in best.items() if rate}
    return {"prompt": prompt, "batch": batch, "tokens_per_s": medians, "ours_over_the_better_peer": ratios, "load_average": loads}


def ours(arguments, place: dict) -> tuple[float, float]:
    command = [arguments.ours, "bench", "engine", place["model"], "--dtype", arguments.dtype, "--json"]
    command += [word for name in ("batch", "prompt", "answer", "threads") for word in (f"--{name}", str(place[name]))]
    figure = json.loads(run(command))["figures"][0]
    return figure["prefill_tokens_per_s"], figure["decode_tokens_per_s"]


def peer(command: str, place: dict) -> tuple[float, float]:
    text = run(shlex.split(command.format(**place)))
    if found := re.search(r"prefill\s+([\d.]+).*?decode\s+([\d.]+)", text):
        return float(found[1]), float(found[2])
    # | PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | T s | S t/s |
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\|\s*\d+\s*\|", line)]
    if not rows:
        sys.exit(f"`{command}` printed no figures:\n{text[-2000:]}")
    return float(rows[-1][5]), float(rows[-1][7])


def run(command: list[str]) -> str:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=3600)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def processor() -> str:
    return next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")


def parse() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--batch", type=numbers, default=[1, 64, 256])
    parser.add_argument("--prompt", type=numbers, default=[64, 512])
    return parser.parse_args()


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every comparison is told."""
    parser.add_argument("model", help="model folder in Hugging Face's layout")
    parser.add_argument("--ours", default="target/release/millrace", help="our binary")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="may be repeated; {model} {batch} {prompt} {answer} {threads} are filled in")
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="bf16", choices=["f32", "bf16", "int8", "auto"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the figures")


if __name__ == "__main__":
    main()
