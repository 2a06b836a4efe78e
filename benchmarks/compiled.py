"""Compiled steps beside steps as written, in fp32 on a CPU, on made-up data: do they differ by more than rounding?

    python benchmarks/compiled.py                          # all that full.yaml compiles, in an hour
    python benchmarks/compiled.py --output results/compiled.md && python docs/generate.py compiled    # into the docs

Trainings begin alike and see the same batches, as small as those of steps.py: one as written, one compiled, and NUDGED
ones as written whose weights each begin one unit in the last place (ulp) further up or down, at random. How far the
nudged ones get from the first tells what a network makes of a last digit. The compiled one may be LIMIT times as far
from it as the furthest of them, since its kernels round otherwise; a wrong kernel would take it out of that range.

A ReLU whose input is 0 but for rounding passes a gradient or none, and such switches are most of the distance. So
networks with some are trained once more with SiLU in their place: as it is smooth, much smaller faults are seen.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from steps import line, prepare, workload
from timing import conditions
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor import config

from octathlon import registry
from octathlon.harness.seeds import seed_alike
from octathlon.harness.trainer import StepTrainer

LIMIT = 3
NUDGED = 4
"""One in three makes mask R-CNN choose another region, which is most of its distance then."""
LAYOUTS = {"maskrcnn": {"channels_last": True}}
"""Without which it can't be compiled."""
WITH_RELU = ("maskrcnn", "resnet", "ssd", "unet3d")
HEAD = ("network", "samples", "graphs", "loss", "nudged", "gradients", "nudged", "ratio")
Step = tuple[list[Tensor], list[Tensor]]
"""The loss, alone in a list, and all gradients."""
Change = Callable[[nn.Module], object]
"""What a model undergoes before it is trained."""


def compiled_at_full_scale() -> list[str]:
    """The benchmarks whose full.yaml says so."""
    settings = {name: registry.defaults("benchmarks", name, "full") for name in registry.benchmarks()}
    return [name for name, found in settings.items() if found.get("compile", "none") != "none"]


def smooth(model: nn.Module) -> None:
    """SiLU in place of ReLU."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.SiLU())


@torch.no_grad()
def nudge(model: nn.Module, seed: int) -> None:
    """Move each weight to one of its neighbours in its type; not those that are 0, whose neighbours are too near."""
    torch.manual_seed(seed)
    for each in model.parameters():
        towards = torch.where(torch.rand_like(each) < 0.5, torch.inf, -torch.inf)
        each.copy_(
            torch.where(each == 0, each, each.nextafter(towards))
        )  # where they are: bert's are adjacent


def train(
    name: str, scale: str, steps: int, changes: Sequence[Change] = (), mode: str = "none"
) -> Iterator[Step]:
    """What comes of each step of a training, a micro-batch being a step's whole batch."""
    with tempfile.TemporaryDirectory() as folder, config.patch(fallback_random=True):  # for the same dropout
        seed_alike(1)  # made-up data may have a backbone
        settings, run = prepare(name, scale, Path(folder))
        settings = settings.model_copy(update={"compile": mode} | LAYOUTS.get(name, {}))
        benchmark = registry.benchmark_class(name)(settings, run)
        seed_alike(1)
        model = benchmark.build_model().train()
        for change in changes:
            change(model)
        trainer = StepTrainer(benchmark, model, *benchmark.build_optimizer(model), events=None)
        losses, gradients = watch(benchmark)
        for batch in batches(name, benchmark, steps):
            torch.manual_seed(1)  # what is drawn at random is the same in all trainings
            trainer.step(batch)
            yield [losses.pop()], gradients.pop()


def watch(benchmark: Any) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Lists that each step will add its loss and its gradients to."""
    losses, gradients = [], []
    loss, update = benchmark.loss, benchmark.update

    def seen_loss(*arguments: Any) -> Tensor:
        found = loss(*arguments)
        losses.append(found.detach())
        return found

    def seen_update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        gradients.append([each.grad.clone() for each in model.parameters() if each.grad is not None])
        update(model, optimizer)

    benchmark.loss, benchmark.update = seen_loss, seen_update
    return losses, gradients


def batches(name: str, benchmark: Any, steps: int) -> Iterable[Any]:
    """The first ones of an epoch; minigo's are drawn from games, so that it has made-up ones."""
    if name == "minigo":
        return [benchmark.synthetic_batch()] * steps
    return islice(benchmark.train_batches(1), steps)


def distances(written: list[Step], other: Iterable[Step]) -> tuple[float, float]:
    """Of losses and gradients, the greatest of all steps: relative, and of all gradients together.

    The other training is compared as it goes on: the gradients of a large network fill gigabytes.
    """
    found = [
        tuple(distance(*pair) for pair in zip(mine, theirs, strict=True))
        for mine, theirs in zip(written, other, strict=True)
    ]
    loss, gradients = map(max, zip(*found, strict=True))
    return loss, gradients


def distance(left: list[Tensor], right: list[Tensor]) -> float:
    return (norm(a - b for a, b in zip(left, right, strict=True)) / norm(left)).item()


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Of all their elements together."""
    return torch.stack([each.double().norm() for each in tensors]).norm()


def compare(name: str, scale: str, steps: int, changes: Sequence[Change] = ()) -> tuple[str, ...]:
    """A row of the table, of a network with these changes."""
    written = list(train(name, scale, steps, changes))
    nudged = [
        distances(written, train(name, scale, steps, [*changes, partial(nudge, seed=seed)]))
        for seed in range(NUDGED)
    ]
    counters.clear()
    compiled = distances(written, train(name, scale, steps, changes, mode="default"))
    (loss, far_loss), (gradients, far_gradients) = zip(
        compiled, map(max, zip(*nudged, strict=True)), strict=True
    )
    figures = (f"{each:.1e}" for each in (loss, far_loss, gradients, far_gradients))
    samples, graphs = workload(name, scale).batch, counters["stats"]["unique_graphs"]
    return (
        " ".join([name, *(f"({each.__name__})" for each in changes)]),
        str(samples),
        str(graphs),
        *figures,
        f"{gradients / far_gradients:.2f}",
    )


def document(rows: list[tuple[str, ...]], steps: int) -> str:
    """What was measured where and when."""
    head = [line(HEAD), "| --- |" + " ---: |" * (len(HEAD) - 1)]
    return "\n".join(
        [conditions(1), f"The greatest distance of {steps} steps.", "", *head, *map(line, rows), ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--benchmarks", nargs="+", default=compiled_at_full_scale(), choices=registry.benchmarks()
    )
    parser.add_argument(
        "--scale",
        default="full",
        choices=registry.SCALES,
        help="mini: only to try this script, as one unit that switches there may be all the difference",
    )
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a file for the table (Markdown)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.benchmarks:
        for changes in ((), (smooth,)) if name in WITH_RELU else ((),):
            rows.append(compare(name, options.scale, options.steps, changes))
            print(line(rows[-1]), flush=True)
            if options.output:
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(document(rows, options.steps))


if __name__ == "__main__":
    main()
