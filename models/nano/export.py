"""Writes a training checkpoint as the shipped model directory: config, bf16 weights (router bias in f32), generation config.

    python export.py .work/checkpoint.pt ../millrace-nano
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import Config

BYTES_MAX = 12 * 1024 * 1024


def checkpoint_tensors(state):
    """The names of the original checkpoints: experts one by one, embedding and head shared with the MTP layer and written once."""
    for name, value in state.items():
        if name.endswith("mlp.gate_up_proj"):
            for expert, (gate, up) in enumerate(value):
                prefix = name.replace("gate_up_proj", f"experts.{expert}.")
                yield prefix + "gate_proj.weight", gate
                yield prefix + "up_proj.weight", up
        elif name.endswith("mlp.down_proj"):
            for expert, down in enumerate(value):
                yield name.replace("down_proj", f"experts.{expert}.down_proj.weight"), down
        else:
            yield name, value


def shipped(name, value):
    """Weights in bf16; the router's bias stays exact, as its ties decide."""
    dtype = torch.float32 if name.endswith("e_score_correction_bias") else torch.bfloat16
    return value.to(dtype).contiguous()


def write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def export(checkpoint, directory):
    state = torch.load(checkpoint, weights_only=True)["model"]
    config = Config(vocab_size=state["lm_head.weight"].shape[0])
    tensors = {name: shipped(name, value) for name, value in checkpoint_tensors(state)}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", config.as_json())
    stops = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "do_sample": False}
    write_json(directory / "generation_config.json", stops)
    size = (directory / "model.safetensors").stat().st_size
    assert size <= BYTES_MAX, f"{size} bytes of weights, more than {BYTES_MAX}"
    print(f"{sum(tensor.numel() for tensor in tensors.values())} parameters, {size} bytes")


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
