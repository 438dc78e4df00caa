"""Trains millrace-nano from nothing: resumes from its last checkpoint, ends when its minutes are used up.

    python tokenizer.py ../millrace-nano && python train.py --minutes 90
"""
import argparse
import json
import math
import os
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import workers
from documents import training_sample
from held_out import development
from model import Config, Nano
from prompts import Prompts, batches, padded

HERE = Path(__file__).resolve().parent
SEED = 20261123
POOL = 1024  # samples that are sorted by length together
TOKENS_PER_STEP = 3000
MTP_WEIGHT = 0.2
MTP_SHARE = 4  # one row in so many trains the MTP layer
MATRIX_RATE, OTHER_RATE = 0.01, 5e-3
WARMUP_STEPS = 50
BIAS_RATE = 1e-3


class Schedule:
    """How far the training is, by the shared clock, and what follows from that."""

    def __init__(self, clock, minutes):
        self.clock, self.seconds_max = clock, minutes * 60

    def progress(self):
        return min(1.0, self.clock[0].item() / self.seconds_max)

    def rate(self):
        """A short warm-up, then half a cosine down to almost nothing."""
        warmup = min(1.0, (self.clock[1].item() + 1) / WARMUP_STEPS)
        return warmup * max(0.002, 0.5 * (1 + math.cos(math.pi * self.progress())))

    def bias_rate(self):
        """The last tenth runs with a fixed router bias, so that the weights settle on it."""
        return BIAS_RATE if self.progress() < 0.9 else 0.0


def weighted_loss(model, hidden, targets, weights):
    """Cross entropy over the tokens that count; padding never reaches the head."""
    counted = weights > 0
    losses = F.cross_entropy(model.lm_head(hidden[counted]), targets[counted], reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


def batch_losses(model, encoded):
    """Loss of the next token, and of the token after it by the MTP layer on some of the rows."""
    ids, weights = padded(encoded)
    hidden = model.hidden(ids)
    loss = weighted_loss(model, hidden[:, :-1], ids[:, 1:], weights)
    rows = max(1, len(ids) // MTP_SHARE)
    drafted = model.draft(hidden[:rows], ids[:rows])
    return loss, weighted_loss(model, drafted[:, :-1], ids[:rows, 2:], weights[:rows, 1:])


@torch.no_grad()
def balance_experts(shared, rate):
    """The bias rule: what was used too little becomes a little more attractive. No auxiliary loss."""
    for moe, load in zip(shared.model.experts(), shared.loads.sum(0)):
        moe.gate.e_score_correction_bias += rate * torch.sign(load.mean() - load)
    shared.loads.zero_()


def train_step(worker, schedule, encoded):
    """One step of all workers together, each with its own batch."""
    shared = worker.shared
    worker.clear_gradients()
    loss, mtp = batch_losses(shared.model, encoded)
    (loss + MTP_WEIGHT * mtp).backward()
    shared.losses[worker.rank] = torch.stack([loss.detach(), mtp.detach()])
    worker.meet()
    worker.update(MATRIX_RATE * schedule.rate(), OTHER_RATE * schedule.rate())
    if worker.first:
        balance_experts(shared, schedule.bias_rate())
    worker.meet()
    return shared.losses.mean(0)


def train_pool(worker, schedule, prompts, pool):
    """One pass over a pool of fresh samples; returns the mean losses."""
    shared = worker.shared
    encoded = [prompts.encode(training_sample(number)) for number in range(pool * POOL, (pool + 1) * POOL)]
    parts = batches(encoded, TOKENS_PER_STEP // shared.workers)
    random.Random(pool).shuffle(parts)
    losses = []
    for start in range(0, len(parts) - shared.workers + 1, shared.workers):
        began = time.monotonic()
        losses.append(train_step(worker, schedule, parts[start + worker.rank]).clone())
        if worker.first:
            group = parts[start : start + shared.workers]
            shared.clock += torch.tensor([time.monotonic() - began, 1, sum(len(e.ids) for part in group for e in part)])
        worker.meet()
        if schedule.progress() >= 1:
            break
    return torch.stack(losses).mean(0)


@torch.no_grad()
def score(model, prompts, samples):
    """Share of samples per task that greedy decoding would answer exactly: every token the most likely one given those before it."""
    right, seen = {}, {}
    pairs = [(prompts.encode(sample), sample) for sample in samples]
    for start in range(0, len(pairs), 16):
        part = pairs[start : start + 16]
        ids, weights = padded([encoded for encoded, _ in part])
        correct = (model(ids)[:, :-1].argmax(-1) == ids[:, 1:]) | (weights < 1)
        for (_, sample), exact in zip(part, correct.all(-1).tolist()):
            key = f"{sample.task}-{sample.language}" + ("-thinking" if sample.thinking else "")
            seen[key] = seen.get(key, 0) + 1
            right[key] = right.get(key, 0) + exact
    for moe in model.experts():
        moe.load.zero_()
    return {key: round(right[key] / seen[key], 3) for key in sorted(seen)}


class Journal:
    """The checkpoint and the log, kept by the first worker."""

    def __init__(self, directory, worker):
        self.directory, self.worker, self.shared = directory, worker, worker.shared

    def log(self, **values):
        seconds, step, tokens = self.shared.clock.tolist()
        line = json.dumps({"minutes": round(seconds / 60, 1), "step": int(step), "tokens": int(tokens), **values})
        print(line, flush=True)
        with open(self.directory / "log.jsonl", "a") as file:
            file.write(line + "\n")

    def save(self, pool):
        """Replaces the checkpoint in one move, so that a kill leaves the old or the new one."""
        shared = self.shared
        state = {
            "model": shared.model.state_dict(),
            "momentum": shared.momentum,
            "adamw": self.worker.adamw.state_dict(),
            "clock": shared.clock,
            "pool": pool,
        }
        partial = self.directory / "checkpoint.partial"
        torch.save(state, partial)
        os.replace(partial, self.directory / "checkpoint.pt")


def resume(checkpoint, shared):
    """Loads the shared state before the workers start; returns the next pool and AdamW's state."""
    if not checkpoint.exists():
        return 0, None
    state = torch.load(checkpoint, weights_only=True)
    shared.model.load_state_dict(state["model"])
    shared.momentum.copy_(state["momentum"])
    shared.clock.copy_(state["clock"])
    return state["pool"], state["adamw"]


def train(worker, options, pool, adamw):
    """What every worker does: pools until the time is over. The first one also scores, logs and saves."""
    torch.set_num_threads(1)
    if worker.first and adamw:
        worker.adamw.load_state_dict(adamw)
    prompts, schedule = Prompts(options.tokenizer), Schedule(worker.shared.clock, options.minutes)
    journal, samples = Journal(options.work, worker), development()
    saved = scored = worker.shared.clock[0].item()
    while schedule.progress() < 1:
        loss, mtp_loss = train_pool(worker, schedule, prompts, pool).tolist()
        pool += 1
        if worker.first:
            now, ended = worker.shared.clock[0].item(), schedule.progress() >= 1
            journal.log(loss=round(loss, 4), mtp_loss=round(mtp_loss, 4), samples=pool * POOL)
            if ended or now - saved > options.save_every_s:
                journal.save(pool)
                saved = now
            if ended or now - scored > options.score_every_s:
                journal.log(score=score(worker.shared.model, prompts, samples))
                scored = now
        worker.meet()


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--minutes", type=float, default=90, help="training time; the learning rate ends with it")
    flags.add_argument("--work", type=Path, default=HERE.parent / ".work", help="checkpoints and the log")
    flags.add_argument("--tokenizer", type=Path, default=HERE.parent / "millrace-nano")
    flags.add_argument("--workers", type=int, default=os.cpu_count(), help="single-threaded processes")
    flags.add_argument("--save-every-s", type=float, default=180)
    flags.add_argument("--score-every-s", type=float, default=420)
    options = flags.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    vocabulary = Prompts(options.tokenizer).tokenizer.get_vocab_size()
    shared = workers.Shared(Nano(Config(vocab_size=vocabulary)), options.workers)
    pool, adamw = resume(options.work / "checkpoint.pt", shared)
    workers.run(shared, lambda worker: train(worker, options, pool, adamw))


if __name__ == "__main__":
    main()
