"""Which of how many processes this one is, and joining the others.

torchrun says so in RANK, WORLD_SIZE and LOCAL_RANK, srun in SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID. Without
either the process is alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten

import torch
import torch.distributed as dist

from octathlon.errors import OctathlonError
from octathlon.harness.heartbeat import announce, watched
from octathlon.nn.processes import end_with_parent


@dataclass(frozen=True, slots=True)
class Rank:
    """This process among `world`."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Its number on its node: which GPU it uses."""


def find_rank(environment: Mapping[str, str]) -> Rank:
    """What the launcher said.

    Raises:
        OctathlonError: if the launcher's variables contradict each other.
    """
    for names in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")):
        if all(name in environment for name in names):
            found = Rank(*(int(environment[name]) for name in names))
            if not 0 <= found.local <= found.rank < found.world:
                raise OctathlonError(
                    f"{', '.join(f'{name}={environment[name]}' for name in names)}: impossible ranks"
                )
            return found
    return Rank()


def choose_device(kind: str, rank: Rank) -> torch.device:
    """The device of this rank; `kind` is cpu or cuda.

    Raises:
        OctathlonError: if there is no such GPU.
    """
    if kind == "cpu":
        return torch.device("cpu")
    if rank.local >= torch.cuda.device_count():
        raise OctathlonError(
            f"rank {rank.rank} wants GPU {rank.local}, but {torch.cuda.device_count()} are visible here: correct the "
            "system's accelerators_per_node or CUDA_VISIBLE_DEVICES"
        )
    device = torch.device("cuda", rank.local)
    torch.cuda.set_device(device)
    return device


@contextmanager
def joined(rank: Rank, device: torch.device, end: Callable[[int], None] = os._exit) -> Iterator[None]:
    """Set torch.distributed up for the block, unless the process is alone: gloo between CPUs, nccl between GPUs.

    A rank ends with its launcher, and when another one is silent, even while it waits for that one.

    Args:
        end: ends the process with an exit code, from any thread.

    Raises:
        OctathlonError: if the connection to another rank is lost.
    """
    if rank.world == 1:
        yield
        return
    end_with_parent()
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ.get("SLURM_STEP_NODELIST", "localhost")))
    os.environ.setdefault("MASTER_PORT", str(29500 + int(os.environ.get("SLURM_JOB_ID", "0")) % 10_000))
    backend, options = ("nccl", {"device_id": device}) if device.type == "cuda" else ("gloo", {})

    def give_up(reason: str) -> None:
        sys.stderr.write(f"octathlon: {reason}\n")
        end(1)

    try:
        store, _, _ = next(dist.rendezvous("env://", rank.rank, rank.world))
        signs = dist.PrefixStore("heartbeat", store.clone())
        announce(signs, rank.rank)
        dist.init_process_group(backend, store=store, rank=rank.rank, world_size=rank.world, **options)
        with watched(signs, rank.rank, rank.world, give_up):
            yield
        dist.destroy_process_group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise OctathlonError(
            f"rank {rank.rank} lost its connection to the others ({shorten(str(error), 150)}): see what the one that "
            "ended first says, or its launcher"
        ) from None


def first_host(nodes: str) -> str:
    """The first name of a Slurm node list such as `gpu[07-09,12],login1`."""
    found = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    if not found:
        raise OctathlonError(f"SLURM_STEP_NODELIST={nodes!r}: no host in it")
    return found[1] + (found[2] or "")
