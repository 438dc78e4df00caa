#!/usr/bin/env python3
"""vLLM on the CPU, offline: prefill and decode tokens a second at one batch size, for compare.py.

    bench_vllm_cpu.py MODEL --batch N [--prompt N] [--answer N]
"""

import argparse
import os
import random
import time

QUIET = dict(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", VLLM_LOGGING_LEVEL="WARNING")
ALONE = dict(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_HOST_IP="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
SIZES = dict(VLLM_CPU_KVCACHE_SPACE="2", VLLM_CPU_OMP_THREADS_BIND="0-1", VLLM_CPU_NUM_OF_RESERVED_CPU="0")
os.environ.update(QUIET | ALONE | SIZES)

from vllm import LLM, SamplingParams  # noqa: E402  the environment comes first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--answer", type=int, default=64)
    arguments = parser.parse_args()
    model = LLM(
        arguments.model, dtype="bfloat16", max_model_len=1024, enforce_eager=True, max_num_seqs=256, skip_tokenizer_init=True,
        enable_prefix_caching=False, disable_log_stats=True,
    )

    def seconds(batch: int, answer: int) -> float:
        prompts = [{"prompt_token_ids": random.choices(range(100, 30000), k=arguments.prompt)} for _ in range(batch)]
        sampling = SamplingParams(max_tokens=answer, min_tokens=answer, temperature=0, ignore_eos=True, detokenize=False)
        began = time.perf_counter()
        model.generate(prompts, sampling, use_tqdm=False)
        return time.perf_counter() - began

    # Kernels are made for each size when it first comes.
    seconds(arguments.batch, 2)
    prefill, whole = seconds(arguments.batch, 1), seconds(arguments.batch, arguments.answer)
    decoded = arguments.batch * (arguments.answer - 1)
    print(f"prefill {arguments.batch * arguments.prompt / prefill:.1f} decode {decoded / (whole - prefill):.1f}")


if __name__ == "__main__":
    main()
