"""Figures for the model card: routing balance and draft acceptance of a checkpoint on the held-out examples. Accuracy is evaluate.py.

    python measure.py .work/checkpoint.pt
"""
import sys
from pathlib import Path

import torch

from held_out import examples
from model import Config, Nano
from prompts import Prompts

HERE = Path(__file__).resolve().parent


def load(checkpoint):
    state = torch.load(checkpoint, weights_only=True)["model"]
    model = Nano(Config(vocab_size=state["lm_head.weight"].shape[0]))
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def acceptance(model, encoded):
    """Drafts that equal what the model itself says next, and how many there were, over the answers."""
    ids = torch.tensor([encoded.ids])
    hidden = model.hidden(ids)
    own = model.lm_head(hidden).argmax(-1)[0, 1:]
    drafts = model.lm_head(model.draft(hidden, ids)).argmax(-1)[0]
    # Position i drafts token i+2, which the trunk predicts at i+1; the first draft of use stands at the end of the prompt.
    agree = (drafts == own)[encoded.prompt_length - 1 : -1]
    return agree.sum().item(), len(agree)


def main(checkpoint):
    model, prompts = load(checkpoint), Prompts(HERE.parent / "millrace-nano")
    accepted = [acceptance(model, prompts.encode(sample)) for sample in examples()]
    print(f"parameters {sum(weight.numel() for weight in model.parameters())}")
    for number, moe in enumerate(model.experts(), 1):
        shares = moe.load / moe.load.sum()
        print(f"layer {number}: share of each expert in %: {' '.join(f'{100 * share:.1f}' for share in shares.tolist())}")
    right, drafted = (sum(column) for column in zip(*accepted))
    print(f"drafts accepted: {right} of {drafted}, {100 * right / drafted:.1f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
