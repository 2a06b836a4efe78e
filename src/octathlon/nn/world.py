"""Collectives that also work alone: with one rank, or none set up, each is the identity."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def size() -> int:
    """The number of ranks; 1 where torch.distributed is not initialised."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among the ranks."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait until all ranks are here."""
    if size() > 1:
        dist.barrier()


def from_first(decision: int) -> int:
    """The first rank's `decision`: what all must agree on is decided once."""
    if size() == 1:
        return decision
    decisions = [decision]
    dist.broadcast_object_list(decisions, src=0)
    return decisions[0]


def all_objects(value: Any) -> list[Any]:
    """Every rank's `value`, in rank order: small things that pickle."""
    values = [value] * size()
    if size() > 1:
        dist.all_gather_object(values, value)
    return values


def all_sum(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks, in place."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_gather(tensor: Tensor) -> Tensor:
    """The ranks' tensors, joined along the first axis in rank order; their lengths may differ."""
    if size() == 1:
        return tensor
    lengths = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(size())]
    dist.all_gather(lengths, torch.tensor([len(tensor)], device=tensor.device))
    longest = int(max(lengths))
    padded = tensor.new_zeros((longest, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)])


@torch.no_grad()
def average_batch_norm(model: nn.Module) -> None:
    """Average the running statistics of all batch norms over the ranks, which each saw other samples.

    Evaluating with one rank's statistics is noisy where a rank's batch is small.
    """
    if size() == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            for statistic in (module.running_mean, module.running_var):
                all_sum(statistic).div_(size())
