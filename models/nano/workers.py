"""Training in several single-threaded processes over one set of weights in shared memory. What they compute is train.py.

Threads inside each operation would wait for each other a thousand times a step, which stalls on a machine that
others use too. Processes meet twice a step: when all gradients are there, and when all weights are updated.
"""
import torch
import torch.multiprocessing as multiprocessing

from muon import muon_step

WAIT_S = 900
GRADIENT_NORM_MAX = 1.0


def is_matrix(name, weight):
    """Hidden matrices go to Muon; embeddings, head, router and norms to AdamW."""
    return weight.dim() >= 2 and not any(part in name for part in ["embed_tokens", "lm_head", "gate.weight"])


class Shared:
    """Weights, gradients and momentum in memory that all workers see. Made before they fork."""

    def __init__(self, model, workers):
        self.model, self.workers = model.share_memory(), workers
        self.barrier = multiprocessing.get_context("fork").Barrier(workers, timeout=WAIT_S)
        self.weights = dict(model.named_parameters())
        self.offsets, size = {}, 0
        for name, weight in self.weights.items():
            self.offsets[name] = slice(size, size + weight.numel())
            size += weight.numel()
        self.gradients = torch.zeros(workers, size).share_memory_()
        self.momentum = torch.zeros(size).share_memory_()
        self.losses = torch.zeros(workers, 2).share_memory_()
        self.loads = torch.zeros(workers, len(model.experts()), model.config.n_routed_experts).share_memory_()
        # seconds, step, tokens: written by the first worker, read by all.
        self.clock = torch.zeros(3, dtype=torch.float64).share_memory_()

    def matrices(self):
        return [name for name, weight in self.weights.items() if is_matrix(name, weight)]

    def others(self):
        return [name for name, weight in self.weights.items() if not is_matrix(name, weight)]

    def slot(self, buffer, name):
        """The part of a flat buffer that belongs to one weight, in its shape."""
        return buffer[self.offsets[name]].view_as(self.weights[name])

    def mean_gradient(self, name):
        return self.gradients[:, self.offsets[name]].mean(0).view_as(self.weights[name])


class Worker:
    """One process's part: its gradients, and the weights that it alone updates. The first one also runs AdamW."""

    def __init__(self, shared, rank):
        self.shared, self.rank, self.first = shared, rank, rank == 0
        for name, weight in shared.weights.items():
            weight.grad = shared.slot(shared.gradients[rank], name)
        for moe, load in zip(shared.model.experts(), shared.loads[rank]):
            moe.load = load
        self.owned = shares(shared, shared.workers)[rank]
        self.adamw = None
        if self.first:
            others = [shared.weights[name] for name in shared.others()]
            self.adamw = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)

    def meet(self):
        self.shared.barrier.wait()

    def clear_gradients(self):
        self.shared.gradients[self.rank].zero_()

    def update(self, matrix_rate, other_rate):
        """Steps the owned weights by the mean gradient of all workers. Between two meetings only."""
        shared = self.shared
        for name in self.owned:
            muon_step(shared.weights[name], shared.mean_gradient(name), shared.slot(shared.momentum, name), matrix_rate)
        if self.first:
            for name in shared.others():
                shared.weights[name].grad.copy_(shared.mean_gradient(name))
            torch.nn.utils.clip_grad_norm_([shared.weights[name] for name in shared.others()], GRADIENT_NORM_MAX)
            self.adamw.param_groups[0]["lr"] = other_rate
            self.adamw.step()


def shares(shared, workers):
    """Divides the matrices so that each worker has about the same work; the largest are given out first."""
    owned, work = [[] for _ in range(workers)], [0] * workers
    for name in sorted(shared.matrices(), key=lambda name: -shared.weights[name].numel()):
        least = work.index(min(work))
        owned[least].append(name)
        work[least] += shared.weights[name].numel()
    return owned


def run(shared, task):
    """Runs task(worker) in every process; ends when all have ended, with an error if one failed."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=lambda rank=rank: task(Worker(shared, rank))) for rank in range(shared.workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a worker failed")
