#!/usr/bin/env python3
"""Writes the random-weight model that peers are compared on: DeepSeek-V3's architecture, 750 M parameters, 254 M of them active.

    peer_moe.py FOLDER FOLDER_WITH_A_DEEPSEEK_TOKENIZER

The head sizes are V3's own, which vLLM's CPU kernel insists on. bf16, one tensor for each expert: llama.cpp's converter, vLLM and this
engine read the folder as it is. Needs torch and transformers 5.23.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

SIZES = dict(
    vocab_size=129280, hidden_size=1024, intermediate_size=2816, moe_intermediate_size=384, num_hidden_layers=12,
    num_attention_heads=8, num_key_value_heads=8, n_shared_experts=1, n_routed_experts=32, num_experts_per_tok=4,
    n_group=4, topk_group=2, routed_scaling_factor=2.5, norm_topk_prob=True, first_k_dense_replace=1,
    q_lora_rank=512, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
    max_position_embeddings=4096, rope_theta=10000.0, attention_bias=False, initializer_range=0.02,
    bos_token_id=0, eos_token_id=1, tie_word_embeddings=False, num_nextn_predict_layers=0,
)
# transformers leaves these out of config.json; vLLM and llama.cpp's converter need them.
SPELLED_OUT = dict(topk_method="noaux_tc", scoring_func="sigmoid", moe_layer_freq=1, rope_theta=10000.0)


def main() -> None:
    folder, tokenizer = map(Path, sys.argv[1:3])
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = DeepseekV3ForCausalLM(DeepseekV3Config(**SIZES)).eval()
    for layer in model.model.layers:
        if gate := getattr(layer.mlp, "gate", None):
            gate.e_score_correction_bias.data.normal_(0, 0.02)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder)
    extend(folder / "config.json", SPELLED_OUT)
    extend(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


def extend(path: Path, fields: dict) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
