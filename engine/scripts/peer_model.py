#!/usr/bin/env python3
"""Writes a random-weight model that peers are compared on, in a folder that llama.cpp's converter, vLLM and this engine read as it is.

    peer_model.py moe FOLDER --tokenizer FOLDER_WITH_A_DEEPSEEK_TOKENIZER
    peer_model.py dense FOLDER

`moe` is DeepSeek-V3's architecture at 750 M parameters, 254 M of them active, with V3's own head sizes, which vLLM's CPU kernel insists on;
`dense` is Llama's at 162 M, with a vocabulary of bytes and fillers. bf16. Needs torch, transformers 5.23 and, for `dense`, sentencepiece.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

MOE = dict(
    vocab_size=129280, hidden_size=1024, intermediate_size=2816, moe_intermediate_size=384, num_hidden_layers=12,
    num_attention_heads=8, num_key_value_heads=8, n_shared_experts=1, n_routed_experts=32, num_experts_per_tok=4,
    n_group=4, topk_group=2, routed_scaling_factor=2.5, norm_topk_prob=True, first_k_dense_replace=1,
    q_lora_rank=512, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
    max_position_embeddings=4096, rope_theta=10000.0, attention_bias=False, initializer_range=0.02,
    bos_token_id=0, eos_token_id=1, tie_word_embeddings=False, num_nextn_predict_layers=0,
)
# transformers leaves these out of config.json; vLLM and llama.cpp's converter need them.
SPELLED_OUT = dict(topk_method="noaux_tc", scoring_func="sigmoid", moe_layer_freq=1, rope_theta=10000.0)
DENSE = dict(
    vocab_size=32000, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=12,
    max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
)


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    if arguments.kind == "moe":
        write_moe(arguments.folder, arguments.tokenizer)
    else:
        write_dense(arguments.folder)


def write_moe(folder: Path, tokenizer: Path) -> None:
    model = DeepseekV3ForCausalLM(DeepseekV3Config(**MOE)).eval()
    for layer in model.model.layers:
        if gate := getattr(layer.mlp, "gate", None):
            gate.e_score_correction_bias.data.normal_(0, 0.02)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder)
    extend(folder / "config.json", SPELLED_OUT)
    extend(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


def write_dense(folder: Path) -> None:
    LlamaForCausalLM(LlamaConfig(**DENSE)).eval().save_pretrained(folder)
    extend(folder / "config.json", {"rope_theta": DENSE["rope_theta"]})
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [f"▁filler{index}" for index in range(DENSE["vocab_size"] - len(words))]
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(words))
    byte_level(len(words)).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def sentencepiece_model(words: list[str]) -> bytes:
    """For llama.cpp's converter."""
    from sentencepiece import sentencepiece_model_pb2

    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    model = sentencepiece_model_pb2.ModelProto()
    for index, word in enumerate(words):
        kind = kinds.UNKNOWN if index == 0 else kinds.CONTROL if index < 3 else kinds.BYTE if index < 259 else kinds.NORMAL
        model.pieces.add(piece=word, score=-float(index), type=kind)
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    model.trainer_spec.vocab_size = len(words)
    model.trainer_spec.byte_fallback = True
    return model.SerializeToString()


def byte_level(size: int) -> Tokenizer:
    """For this engine: bytes, and fillers up to the same size."""
    words = sorted(pre_tokenizers.ByteLevel.alphabet())
    words += [f"filler{index}" for index in range(size - len(words))]
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def extend(path: Path, fields: dict) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, ensure_ascii=False, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["moe", "dense"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="folder with DeepSeek's tokenizer.json and tokenizer_config.json, for moe")
    arguments = parser.parse_args()
    if arguments.kind == "moe" and not arguments.tokenizer:
        parser.error("moe needs --tokenizer")
    return arguments


if __name__ == "__main__":
    main()
