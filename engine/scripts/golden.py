#!/usr/bin/env python3
"""Writes the golden fixtures under engine/tests/fixtures from transformers (development only).

Needs torch, transformers 5.23, tokenizers and safetensors; runs on a CPU in under a minute. Each fixture is a tiny random
model with randomised norms and biases, its logits for the last positions of two prompts, and 32 greedy tokens for each; where it
has a layer for multi-token prediction, the logits of that layer as well.
    python engine/scripts/golden.py [VARIANT ...]
"""

import base64
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import MtpCache
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.modeling_layers import MtpModel
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3PreTrainedModel

FIXTURES = pathlib.Path(__file__).parent.parent / "tests" / "fixtures"
VOCAB = 288
SPECIALS = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"]
THINK = ["<think>", "</think>"]  # ordinary vocabulary, as in R1

YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16,
            beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0)
YARN_UNEQUAL = dict(YARN, factor=8.0, mscale=0.707, mscale_all_dim=0.5, beta_fast=4.0)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
DEFAULT = dict(rope_type="default", rope_theta=10000.0)

# What all variants share, then what those of a family do.
BASE = dict(vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=3, max_position_embeddings=512,
            rms_norm_eps=1e-6, tie_word_embeddings=False, rope_parameters=DEFAULT, bos_token_id=282, eos_token_id=283,
            pad_token_id=None)
LATENT = dict(num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=16, q_lora_rank=None, qk_rope_head_dim=8,
              qk_nope_head_dim=12, v_head_dim=10, moe_intermediate_size=10, n_routed_experts=8, num_experts_per_tok=2,
              first_k_dense_replace=1)
GROUPED = dict(num_attention_heads=6, num_key_value_heads=2)
FAMILIES = {
    "deepseek_v3": LATENT | dict(n_shared_experts=1, n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
                                 num_mtp_layers=0),
    "deepseek_v2": LATENT | dict(n_shared_experts=2, topk_method="greedy", norm_topk_prob=False),
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED | dict(head_dim=10),
    "qwen3_moe": GROUPED | dict(head_dim=8, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=10, norm_topk_prob=True),
    "olmoe": dict(num_attention_heads=3, num_key_value_heads=3, num_experts=8, num_experts_per_tok=3, intermediate_size=10,
                  rms_norm_eps=1e-5),
    "mixtral": GROUPED | dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=20, rms_norm_eps=1e-5),
}

# name: (family, what differs from it, dtype of the stored weights)
VARIANTS = {
    "plain": ("deepseek_v3", dict(), "f32"),
    "q_lora_yarn": ("deepseek_v3", dict(q_lora_rank=16, rope_parameters=YARN), "bf16"),
    "two_groups": ("deepseek_v3", dict(n_group=2, topk_group=1, num_experts_per_tok=3, rope_parameters=YARN_UNEQUAL), "bf16"),
    "raw_topk": ("deepseek_v3", dict(norm_topk_prob=False, routed_scaling_factor=1.0, q_lora_rank=20, n_group=4, topk_group=2),
                 "f16"),
    "two_shared_tied": ("deepseek_v3", dict(n_shared_experts=2, tie_word_embeddings=True, rms_norm_eps=1e-5), "bf16"),
    "everything": ("deepseek_v3", dict(q_lora_rank=16, n_shared_experts=2, n_group=2, topk_group=1, num_experts_per_tok=2,
                                       tie_word_embeddings=True, rope_parameters=YARN, first_k_dense_replace=2), "bf16"),
    "half_rotation": ("deepseek_v3", dict(rope_interleave=False, rope_parameters=YARN, qk_rope_head_dim=4), "bf16"),
    "fp8": ("deepseek_v3", dict(q_lora_rank=20, rope_parameters=YARN), "bf16"),
    "fp8_bf16_scales": ("deepseek_v3", dict(num_hidden_layers=2), "bf16"),
    "fp8_e8m0_scales": ("deepseek_v3", dict(num_hidden_layers=2), "bf16"),
    "mtp": ("deepseek_v3", dict(num_mtp_layers=1), "bf16"),
    "mtp_everything": ("deepseek_v3", dict(num_mtp_layers=1, q_lora_rank=16, n_shared_experts=2, n_group=2, topk_group=1,
                                           tie_word_embeddings=True, rope_parameters=YARN, first_k_dense_replace=2,
                                           rms_norm_eps=1e-5), "bf16"),
    "v2": ("deepseek_v2", dict(q_lora_rank=16, topk_method="group_limited_greedy", n_group=4, topk_group=2, num_experts_per_tok=3,
                               routed_scaling_factor=4.0, rope_parameters=YARN), "bf16"),
    "v2_lite": ("deepseek_v2", dict(rope_parameters=YARN_UNEQUAL), "bf16"),
    "llama": ("llama", dict(rope_parameters=LLAMA3), "bf16"),
    "llama_bias": ("llama", dict(attention_bias=True, head_dim=12, tie_word_embeddings=True), "f16"),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True), "bf16"),
    "qwen3": ("qwen3", dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
                                                 original_max_position_embeddings=16)), "bf16"),
    "qwen3_moe": ("qwen3_moe", dict(mlp_only_layers=[1]), "bf16"),
    "qwen3_moe_step": ("qwen3_moe", dict(decoder_sparse_step=2, norm_topk_prob=False), "bf16"),
    "olmoe": ("olmoe", dict(), "bf16"),
    "olmoe_clip": ("olmoe", dict(clip_qkv=0.8, num_key_value_heads=1), "bf16"),
    "mixtral": ("mixtral", dict(), "bf16"),
}
STORED = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
# FP8 variants are stored in bf16 but for their quantised matrices: the dtype of the scales.
SCALES = {"fp8": torch.float32, "fp8_bf16_scales": torch.bfloat16, "fp8_e8m0_scales": torch.float8_e8m0fnu}
BLOCK = 16  # no multiple of it is 24, which is the width of the stream and the height of kv_a_proj_with_mqa


def randomise(model, stored):
    """Weights large enough that every part matters; rounded to the stored type so that both sides read the same values."""
    for name, tensor in model.state_dict().items():
        if "norm" in name:
            tensor.copy_(1.0 + 0.2 * torch.randn_like(tensor))
        elif name.endswith(".bias"):
            tensor.copy_(0.3 * torch.randn_like(tensor))
        elif "e_score_correction_bias" in name:
            tensor.copy_(0.1 * torch.randn_like(tensor))
            continue
        elif "embed_tokens" in name:
            tensor.copy_(torch.randn_like(tensor))
        else:
            tensor.copy_(1.5 * torch.randn_like(tensor) / tensor.shape[-1] ** 0.5)
        tensor.copy_(tensor.to(stored).to(torch.float32))


def store_as(folder, stored):
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        keep = lambda name: "e_score_correction_bias" in name
        save_file({n: t if keep(n) else t.to(stored) for n, t in tensors.items()}, path, metadata={"format": "pt"})


def per_block(scales, shape):
    return scales.repeat_interleave(BLOCK, 0)[: shape[0]].repeat_interleave(BLOCK, 1)[:, : shape[1]]


def quantise(folder, dtype):
    """Rounds a checkpoint's linear maps to FP8 blocks, leaves it dequantised for transformers, and returns it quantised."""
    (path,) = folder.glob("*.safetensors")
    plain, quantised = load_file(path), {}
    for name, tensor in list(plain.items()):
        if not name.endswith("_proj.weight") and "kv_a_proj_with_mqa" not in name:
            quantised[name] = tensor if "e_score_correction_bias" in name else tensor.to(torch.bfloat16)
            continue
        rows, columns = tensor.shape
        padded = torch.nn.functional.pad(tensor, (0, -columns % BLOCK, 0, -rows % BLOCK))
        largest = padded.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).abs().amax((1, 3))
        scales = largest / 448
        # An e8m0 scale is a power of two, rounded up so that nothing leaves the range.
        scales = (2 ** scales.log2().ceil() if dtype == torch.float8_e8m0fnu else scales).to(dtype)
        spread = per_block(scales.float(), tensor.shape)
        quantised[name] = (tensor / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
        quantised[name + "_scale_inv"] = scales
        plain[name] = quantised[name].float() * spread
    save_file(plain, path, metadata={"format": "pt"})
    return quantised


def store_quantised(folder, quantised):
    (path,) = folder.glob("*.safetensors")
    save_file(quantised, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic",
                                         weight_block_size=[BLOCK, BLOCK])
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def announce_mtp(folder, layers, stored):
    """Makes the layer after the first `layers` that of multi-token prediction, with the embedding and the head repeated in it as
    DeepSeek does, and loads both as transformers does."""
    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    hidden = tensors["model.norm.weight"].shape[0]
    own = {f"{name}.weight": 1.0 + 0.2 * torch.randn(hidden) for name in ("enorm", "hnorm", "shared_head.norm")}
    own["eh_proj.weight"] = 1.5 * torch.randn(hidden, 2 * hidden) / (2 * hidden) ** 0.5
    own = {name: tensor.to(stored).to(torch.float32) for name, tensor in own.items()}
    own["embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
    own["shared_head.head.weight"] = tensors.get("lm_head.weight", own["embed_tokens.weight"]).clone()
    save_file(tensors | {f"model.layers.{layers}.{name}": tensor for name, tensor in own.items()}, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | dict(num_hidden_layers=layers), indent=2) + "\n")
    # By this name transformers finds the layer; it expects 61, as in V3.
    DeepseekV3PreTrainedModel._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{layers}\..*"]
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    mtp = MtpModel.from_pretrained(loaded).eval()
    mtp.set_experts_implementation("eager")
    return loaded, mtp


def drafts(model, mtp, tokens):
    """What the MTP layer makes of each token but the first, and of the state that the model had before it. Positions are those of
    the tokens, one later than those of the states, as in `MTPCandidateGenerator.get_candidates`."""
    states = model(tokens, output_hidden_states=-1).hidden_states[-1][:, :-1]
    cache = MtpCache(config=model.config.get_mtp_config())
    positions = torch.arange(1, tokens.shape[1])[None]
    return mtp._project_to_logits(mtp.forward_layer(0, states, positions, cache, input_ids=tokens[:, 1:]))[0]


def variant(name, family, changes, stored):
    torch.manual_seed(sum(name.encode()))
    config = AutoConfig.for_model(family, **(BASE | FAMILIES[family] | changes))
    layers, mtp = config.num_hidden_layers, None
    config.num_hidden_layers += getattr(config, "num_mtp_layers", 0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.set_experts_implementation("eager")  # the grouped kernel wants sizes that are multiples of four
    randomise(model, STORED[stored])
    folder = FIXTURES / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model.save_pretrained(folder, max_shard_size="40KB" if name == "everything" else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name in SCALES:
        quantised = quantise(folder, SCALES[name])
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        model.set_experts_implementation("eager")
        store_quantised(folder, quantised)
    else:
        if config.num_hidden_layers > layers:
            model, mtp = announce_mtp(folder, layers, STORED[stored])
            model.set_experts_implementation("eager")
        store_as(folder, STORED[stored])

    golden = {}
    for key, length in (("short", 5), ("long", 40)):
        prompt = torch.randint(0, 256, (1, length))
        with torch.no_grad():
            golden[f"{key}.prompt"] = prompt[0].to(torch.int32)
            logits = model(prompt).logits[0]
            golden[f"{key}.logits"] = logits[-8:].contiguous()
            tokens = prompt
            for _ in range(32):
                following = model(tokens, use_cache=False).logits[0, -1].argmax()
                tokens = torch.cat([tokens, following.view(1, 1)], dim=1)
            golden[f"{key}.greedy"] = tokens[0, length:].to(torch.int32)
            if mtp is not None:
                golden[f"{key}.drafts"] = drafts(model, mtp, prompt)[-8:].contiguous()
    save_file(golden, folder / "golden.bin")
    print(name, sum(p.numel() for p in model.parameters()), [golden[f"{k}.greedy"][:6].tolist() for k in ("short", "long")])


def tokenizer():
    """A byte-level BPE tokenizer with the R1 conventions; shared by all variants."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=282, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(["the invoice total is due on the date of the delivery, in the name of the customer"] * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    tokenizer.add_tokens([AddedToken(s, special=False, normalized=False) for s in THINK])
    assert tokenizer.get_vocab_size() == VOCAB, tokenizer.get_vocab_size()
    folder = FIXTURES / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    template = (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
        "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'].split('</think>')[-1] }}<|end|>"
        "{% else %}{{ message['content'] }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>"
        "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{% endif %}"
    )
    added = {id: dict(content=token.content, special=token.special) for id, token in tokenizer.get_added_tokens_decoder().items()}
    config = dict(bos_token="<|begin|>", eos_token="<|end|>", add_bos_token=True, added_tokens_decoder=added, chat_template=template)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    # The same in the form of tiktoken.
    byte = {character: byte for byte, character in bytes_to_unicode().items()}
    tokens = [bytes(byte[character] for character in tokenizer.id_to_token(id)) for id in range(tokenizer.get_vocab_size(False))]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    (folder / "tiktoken.model").write_text("".join(lines))


if __name__ == "__main__":
    tokenizer()
    for chosen in sys.argv[1:] or VARIANTS:
        variant(chosen, *VARIANTS[chosen])
