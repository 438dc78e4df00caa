"""The Muon step for matrices: momentum, then the nearest orthogonal matrix. Which process takes it is workers.py."""
import torch

MOMENTUM = 0.95


def orthogonalise(matrix, iterations=5):
    """Brings all singular values near one by Newton and Schulz's iteration; batches over leading dimensions."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


@torch.no_grad()
def muon_step(weight, grad, momentum, rate):
    """One step in place, with Nesterov's look-ahead. Tall matrices get longer steps, so that all outputs change alike."""
    momentum.lerp_(grad, 1 - MOMENTUM)
    update = orthogonalise(grad.lerp(momentum, MOMENTUM))
    scale = max(1.0, weight.shape[-2] / weight.shape[-1]) ** 0.5
    weight.add_(update, alpha=-rate * scale)
