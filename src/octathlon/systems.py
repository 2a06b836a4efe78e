"""What a timed run has to itself: nodes, cores, accelerators, and how its ranks are started."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from octathlon import names
from octathlon.settings import Strict

Count = Annotated[int, Field(gt=0, le=10**9)]
"""Schedulers compute with these."""

RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""What launchers tell each rank, beside Slurm's own variables."""


def _written_out(value: Any) -> Any:
    """A number as text: YAML takes an account such as 12345 for one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_word(text: str) -> str:
    if not re.fullmatch(r"[^\s-]\S*", text):
        raise ValueError(
            f"{text!r} is no single word; leave out blanks and a dash at the beginning, or give null"
        )
    return text


def _arguments(text: str) -> str:
    """Arguments of sbatch, quoted anew so that the shell which the plugin calls sbatch by changes nothing in them."""
    from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} can't be split into arguments ({error}); close or escape the quotes"
        ) from None
    if not words or not words[0].startswith("-"):
        raise ValueError(f"{text!r} are no arguments of sbatch, such as --exclusive; give some, or null")
    quoted = shlex.join(words)
    for pattern, what in get_forbidden_slurm_options().items():
        if found := re.search(pattern, quoted + " "):
            raise ValueError(
                f"{found.group().strip(' =')} ({what}) is the workflow's to say; use the system's own keys"
            )
    return quoted


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} can't name an environment variable; use letters, digits and _")
    if name in RANKS or name.startswith("SLURM_"):
        raise ValueError(f"{name} is what launchers tell each rank; leave it out")
    return name


Text = Annotated[str, BeforeValidator(_written_out)]

Word = Annotated[Text, AfterValidator(_one_word)]


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
    slurm_partition: Word | None = None
    """This and the next four: as Snakemake's plugin for Slurm has them; None: what the profile says of all jobs."""
    slurm_account: Word | None = None
    constraint: Word | None = None
    qos: Word | None = None
    slurm_extra: Annotated[str, AfterValidator(_arguments)] | None = None
    environment: dict[Annotated[str, AfterValidator(_variable)], Text] = {}
    description: dict[str, JsonValue] = {}

    @property
    def ranks(self) -> int:
        """Training processes of one run."""
        return self.nodes * self.processes_per_node

    def launch(self) -> list[str]:
        """The words before the command `octathlon`: the environment, and what starts one process per rank."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        per_node = str(self.processes_per_node)
        starter = {
            "python": [],
            "torchrun": ["octathlon", "launch", "--ranks", per_node],
            "srun": [
                *("srun", "--kill-on-bad-exit", "--nodes", str(self.nodes)),
                *("--ntasks", str(self.ranks), "--ntasks-per-node", per_node),
            ],
        }
        return (["env", *variables] if variables else []) + starter[self.launcher]

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
