#!/usr/bin/env python3
"""What is left of the speed when another process wants one of the cores: decode and prefill alone and beside it, in turn, ratios from one run.

    contended.py MODEL --batch 64 --dtype bf16 --rounds 3 -o docs/figures/contended.json
    contended.py MODEL --peer "llama.cpp bf16=llama-batched-bench -m model.gguf -npp {prompt} -ntg {answer} -npl {batch} -t {threads} -tb {threads} -c 40960"

The other process computes without end on one core that it never leaves.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
from pathlib import Path

import compare


def main() -> None:
    arguments = parse()
    place = {name: getattr(arguments, name) for name in ("model", "prompt", "answer", "batch", "threads")}
    sides = {"millrace": lambda: compare.ours(arguments, place)}
    for name, command in (peer.split("=", 1) for peer in arguments.peer):
        sides[name] = lambda command=command: compare.peer(command, place)
    results = {name: measure(side, arguments.rounds) for name, side in sides.items()}
    record = compare.record("contended.py", arguments.dtype) | place | {"results": results}
    print(json.dumps(results, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")


def measure(side, rounds: int) -> dict:
    """Medians in tokens per second, and the median of the ratios of neighbouring runs."""
    alone, beside = [], []
    for number in range(rounds):
        # Each comes first in turn, so that a machine that grows slower favours neither.
        for busy in (False, True) if number % 2 == 0 else (True, False):
            with Busy() if busy else contextlib.nullcontext():
                (beside if busy else alone).append(side())
    figures = {}
    for index, phase in enumerate(("prefill", "decode")):
        ratios = [after[index] / before[index] for before, after in zip(alone, beside)]
        figures[phase] = {
            "alone": round(statistics.median(run[index] for run in alone), 1),
            "one_core_taken": round(statistics.median(run[index] for run in beside), 1),
            "kept": round(statistics.median(ratios), 2),
        }
    return figures


class Busy:
    """A process that takes the last core."""

    def __enter__(self) -> None:
        self.process = multiprocessing.Process(target=spin, daemon=True)
        self.process.start()

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.join()


def spin() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    while True:
        pass


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    compare.add_common(parser)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
