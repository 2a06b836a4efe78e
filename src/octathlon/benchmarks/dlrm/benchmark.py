"""Recommendation: DLRM on the Criteo click logs (MLPerf Training v1.1, `dlrm`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from octathlon.benchmarks.dlrm.model import DLRM
from octathlon.benchmarks.dlrm.settings import Settings
from octathlon.contracts import Benchmark, Progress, Run, SampleCounts, Schedule
from octathlon.datasets.click_logs.loader import Key, Rows, Stream, features
from octathlon.datasets.click_logs.rows import COLUMNS, INTEGERS
from octathlon.errors import OctathlonError
from octathlon.nn import auc
from octathlon.nn.embeddings import ShardedEmbeddings, TableSGD, look_up_bytes, table_bytes
from octathlon.nn.sampling import epoch_order, rank_share
from octathlon.nn.schedules import StepSchedule, warmup_hold_polynomial


class Recommendation(Benchmark[Settings]):
    """The contract's members for dlrm. A batch is rows of the prepared format, int32 of shape (N, 40)."""

    loads_in_processes = False  # but in a thread

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        self._updates_per_epoch = self.sample_counts().train // settings.global_batch_size
        if not self._updates_per_epoch:
            raise OctathlonError(
                f"global_batch_size {settings.global_batch_size} is more than the "
                f"{self.sample_counts().train} training rows: choose a smaller one, or add days"
            )
        if run.device.type == "cuda":
            self._require_memory(torch.cuda.mem_get_info(run.device)[0])
        self._evaluation: Iterable[Tensor] | None = None

    def sample_counts(self) -> SampleCounts:
        counts = self.run.manifest["counts"]
        return SampleCounts(counts["train"], counts["eval"])

    def build_model(self) -> nn.Module:
        settings, run, sizes = self.settings, self.run, self.run.manifest["table_sizes"]
        embeddings = ShardedEmbeddings(
            sizes, settings.bottom_mlp[-1], rank=run.rank, world=run.world, device=run.device
        )
        model = DLRM(INTEGERS, settings.bottom_mlp, settings.top_mlp, embeddings, len(sizes), run.device)
        model.reset_parameters()
        return model

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        return model.bottom_mlp, model.top_mlp

    @property
    def captured(self) -> bool:
        return self.settings.cuda_graph and self.run.device.type == "cuda"

    def sharded_parameters(self, model: nn.Module) -> Iterable[str]:
        return [f"embeddings.{name}" for name, _ in model.embeddings.named_parameters()]

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        yield "embeddings"
        for name in ("bottom_mlp", "top_mlp"):
            layers = [layer for layer in getattr(model, name) if isinstance(layer, nn.Linear)]
            yield from (f"{name}_dense{number}" for number in range(1, len(layers) + 1))

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        settings = self.settings
        optimizer = TableSGD(model.parameters(), lr=settings.base_learning_rate)
        rate = partial(
            warmup_hold_polynomial,
            base=settings.base_learning_rate,
            warmup_steps=settings.warmup_steps,
            decay_start=settings.decay_start_steps,
            decay_steps=settings.decay_steps,
            power=settings.decay_power,
        )
        return optimizer, StepSchedule(optimizer, rate)

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            "opt_name": "sgd",
            "opt_base_learning_rate": settings.base_learning_rate,
            "sgd_opt_base_learning_rate": settings.base_learning_rate,
            "opt_learning_rate_warmup_steps": settings.warmup_steps,
            "lr_decay_start_steps": settings.decay_start_steps,
            "sgd_opt_learning_rate_decay_steps": settings.decay_steps,
            "sgd_opt_learning_rate_decay_poly_power": settings.decay_power,
        }

    def epoch_num(self, progress: Progress) -> float:
        """1 before training and 2 after the only epoch: how the round's dlrm logs and RCPs count."""
        return 1 + progress.in_epochs()

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Tensor]:
        return self._load("train", islice(self._training_keys(epoch), first, None))

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        integers, indices, labels = features(batch.to(self.run.device, non_blocking=True))
        return binary_cross_entropy_with_logits(model(integers, indices), labels)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """AUC over the whole evaluation set; each rank scores its share."""
        share = self._share()
        if self._evaluation is None:
            self._evaluation = self._load("eval", self._evaluation_keys())
        scores, labels = [], []
        for rows in self._evaluation:
            integers, indices, clicked = features(rows.to(self.run.device, non_blocking=True))
            scores.append(model(integers, indices).sigmoid())
            labels.append(clicked > 0)
        return {"AUC": auc.roc_auc(torch.cat(scores)[: len(share)], torch.cat(labels)[: len(share)])}

    def synthetic_batch(self) -> Tensor:
        return torch.zeros((self._local_batch, COLUMNS), dtype=torch.int32)

    def _require_memory(self, free: int) -> None:
        """Refuse before anything is built what would fail at the first evaluation, after hours."""
        sizes, dim, world = self.run.manifest["table_sizes"], self.settings.bottom_mlp[-1], self.run.world
        tables, rows = table_bytes(sizes, dim, world), self.settings.eval_batch_size
        scoring = max(
            look_up_bytes(len(sizes), dim, world, rows), auc.BYTES * self.sample_counts().evaluation
        )
        if tables + scoring > free:
            raise OctathlonError(
                f"a rank needs {tables / 1e9:.1f} GB for embedding tables and {scoring / 1e9:.1f} GB to evaluate with "
                f"eval_batch_size {rows}, but {self.run.device} has {free / 1e9:.1f} GB free: use more ranks, or a "
                "smaller eval_batch_size"
            )

    def _training_keys(self, epoch: int) -> Iterator[Key]:
        """This rank's part of each micro-batch: rows keep their shuffled order, updates get a new one.

        As the reference's --mlperf-bin-shuffle.
        """
        local, world = self._local_batch, self.run.world
        for update in epoch_order(self._updates_per_epoch, self.run.seed, epoch).tolist():
            start = update * self.settings.global_batch_size + self.run.rank * local
            for part in range(self.settings.gradient_accumulation_steps):
                yield start + part * local * world, local

    def _share(self) -> range:
        return rank_share(self.sample_counts().evaluation, self.run.rank, self.run.world)

    def _evaluation_keys(self) -> list[Key]:
        """Batches of the same sizes on all ranks: shared tables need all ranks in each step.

        So a rank whose share is one row shorter than others' reads one more, whose score is dropped.
        """
        first, size = self._share().start, self.settings.eval_batch_size
        longest = -(-self.sample_counts().evaluation // self.run.world)
        return [(first + start, min(size, longest - start)) for start in range(0, longest, size)]

    def _load(self, split: str, keys: Iterable[Key]) -> Iterable[Tensor]:
        rows = Rows(self.run.data, self.run.manifest, split)
        return Stream(rows, keys, self.run.device, thread=self.settings.loader_workers > 0)


BENCHMARK = Recommendation
