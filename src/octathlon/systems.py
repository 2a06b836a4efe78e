"""What a timed run has to itself: nodes, cores, accelerators, and how its ranks are started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from octathlon import names
from octathlon.settings import Strict

Count = Annotated[int, Field(gt=0, le=10**9)]
"""Schedulers compute with these."""


class System(Strict):
    """One machine (or part of a cluster) that the benchmarks run on."""

    nodes: Count = 1
    processes_per_node: Count = 1
    cores_per_node: Annotated[int, Field(gt=0, le=names.MOST_CORES)] = 1
    accelerators_per_node: int = Field(0, ge=0, le=10**9)
    memory_mb: Count = 3000
    runtime_min: Count = 60
    launcher: Literal["python", "torchrun", "srun"] = "python"
    """torchrun: by its conventions, see `harness.launch`."""
    description: dict[str, JsonValue] = {}

    @property
    def ranks(self) -> int:
        """Training processes of one run."""
        return self.nodes * self.processes_per_node

    def launch(self) -> str:
        """The command before `octathlon train`: nothing, or what starts one process per rank."""
        if self.launcher == "torchrun":
            return f"octathlon launch --ranks {self.processes_per_node} "
        if self.launcher == "srun":
            per_node = self.processes_per_node
            return f"srun --kill-on-bad-exit --nodes {self.nodes} --ntasks {self.ranks} --ntasks-per-node {per_node} "
        return ""

    def scheduling(self) -> dict[str, int | str | None]:
        """One run's resources under the names that Snakemake and its Slurm plugin know; None: not asked for.

        With srun the plugin allocates tasks of `threads` cores and leaves starting them to the command; else the
        job is one task with all cores of a node.
        """
        srun, per_node = self.launcher == "srun", self.processes_per_node
        gpus = self.nodes * self.accelerators_per_node
        return {
            "threads": self.cores_per_node // per_node if srun else self.cores_per_node,
            "mem_mb": self.memory_mb,
            "runtime": self.runtime_min,
            "nodes": self.nodes,
            "gpu": gpus or None,
            "mpi": "srun" if srun else None,
            "tasks_per_node": per_node if srun and per_node > 1 else None,
            "tasks": self.ranks if srun and per_node == 1 else None,
            "tasks_per_gpu": 1
            if srun and per_node == 1 and gpus
            else None,  # else it would take `tasks` for it
        }

    def one_node(self) -> System:
        """One of its nodes, as a single process takes it."""
        alone: dict[str, Any] = {"nodes": 1, "processes_per_node": 1, "launcher": "python"}
        return self.model_copy(update=alone)

    def problems(self) -> Iterator[str]:
        """What fits no launcher, in words."""
        if self.launcher == "python" and self.ranks > 1:
            yield "launcher: python starts one process; for several ranks choose torchrun or srun"
        if self.launcher == "torchrun" and self.nodes > 1:
            yield "launcher: torchrun serves one node here; for several nodes choose srun"
        if self.launcher == "srun" and self.ranks == 1:
            yield "launcher: srun starts several processes; for one choose python"
        if self.processes_per_node > self.cores_per_node:
            yield f"cores_per_node: {self.cores_per_node} cannot serve {self.processes_per_node} processes"


def _without_nulls(systems: Any) -> Any:
    if not isinstance(systems, Mapping):
        return systems
    return {name: system for name, system in systems.items() if system is not None}


Systems = Annotated[
    dict[Annotated[str, AfterValidator(names.system)], System],
    BeforeValidator(_without_nulls),
    Field(min_length=1),
]
"""Overlays add to the systems of config.yaml; one that is null is taken out."""
