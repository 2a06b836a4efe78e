"""Language modelling: BERT-large on Wikipedia (MLPerf Training v1.1, `bert`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from octathlon.benchmarks.bert.checkpoint import load_checkpoint
from octathlon.benchmarks.bert.model import Bert, Sizes, reference_name
from octathlon.benchmarks.bert.schedule import learning_rate
from octathlon.benchmarks.bert.settings import Settings
from octathlon.contracts import Benchmark, Progress, Run, SampleCounts, Schedule
from octathlon.datasets.wikipedia.loader import Batch, evaluation_batches, open_batches, training_keys
from octathlon.errors import OctathlonError
from octathlon.nn.lamb import Lamb, clip_gradients
from octathlon.nn.loading import load
from octathlon.nn.sampling import rank_share
from octathlon.nn.schedules import StepSchedule
from octathlon.nn.world import all_sum

EPSILON = 1e-5
"""Added to the number of masked pieces in the loss, as in the reference (run_pretraining.py)."""


class LanguageModelling(Benchmark[Settings]):
    """The contract's members for bert. A run sees a small part of the data: samples tell how long it took."""

    fixed_shapes = False
    logs_trained_samples = True

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        if settings.start == "checkpoint" and not run.manifest["checkpoint"]:
            raise OctathlonError(
                "bert: start is checkpoint, but wikipedia was prepared without one: set its key checkpoint to true, or "
                "start to random"
            )
        if settings.global_batch_size > run.manifest["counts"]["train"]:
            raise OctathlonError(
                f"global_batch_size {settings.global_batch_size} is more than the "
                f"{run.manifest['counts']['train']} training samples: choose a smaller one"
            )
        self._evaluation: list[Batch] | None = None

    def sample_counts(self) -> SampleCounts:
        counts = self.run.manifest["counts"]
        return SampleCounts(counts["train"], counts["eval"])

    def epoch_num(self, progress: Progress) -> float:
        return progress.samples

    def build_model(self) -> nn.Module:
        settings, manifest = self.settings, self.run.manifest
        sizes = Sizes(
            vocabulary=manifest["vocabulary"],
            positions=manifest["max_seq_length"],
            hidden=settings.hidden,
            layers=settings.layers,
            heads=settings.heads,
            inner=settings.inner,
            hidden_dropout=settings.hidden_dropout,
            attention_dropout=settings.attention_dropout,
        )
        model = Bert(sizes, settings.initializer_range)
        if settings.start == "checkpoint":  # initialisation by the rules, unlike touching the text
            load_checkpoint(model, self.run.data / manifest["checkpoint"])
        return model.to(self.run.device)

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        return [reference_name(name) for name, _ in model.named_parameters()]

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        settings = self.settings
        optimizer = Lamb(
            parameter_groups(model, settings.weight_decay_rate),
            betas=(settings.beta_1, settings.beta_2),
            eps=settings.epsilon,
        )
        rate = partial(
            learning_rate,
            base=settings.base_learning_rate,
            start_warmup_step=settings.start_warmup_step,
            warmup_steps=settings.num_warmup_steps,
            training_steps=settings.training_steps,
            power=settings.decay_power,
        )
        return optimizer, StepSchedule(optimizer, rate)

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        return (layer.dense for layer in model.layers)

    def update(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Clip AFTER the gradients were averaged over ranks and micro-batches: one of the two allowed orders."""
        clip_gradients(model.parameters(), self.settings.clip_norm)
        optimizer.step()

    def hyperparameters(self) -> Mapping[str, Any]:
        settings, manifest = self.settings, self.run.manifest
        return {
            "opt_name": "lamb",
            "opt_base_learning_rate": settings.base_learning_rate,
            "opt_epsilon": settings.epsilon,
            "opt_learning_rate_training_steps": settings.training_steps,
            "opt_learning_rate_warmup_steps": settings.num_warmup_steps,
            "num_warmup_steps": settings.num_warmup_steps,
            "start_warmup_step": settings.start_warmup_step,
            "opt_lamb_beta_1": settings.beta_1,
            "opt_lamb_beta_2": settings.beta_2,
            "opt_lamb_weight_decay_rate": settings.weight_decay_rate,
            "opt_lamb_learning_rate_decay_poly_power": settings.decay_power,
            "opt_gradient_clip_norm": settings.clip_norm,
            "max_sequence_length": manifest["max_seq_length"],
            "max_predictions_per_seq": manifest["max_predictions"],
        }

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        settings, run, manifest = self.settings, self.run, self.run.manifest
        shards = {name: manifest["samples"][name] for name in manifest["splits"]["train"]}
        accumulation = settings.gradient_accumulation_steps
        keys = training_keys(
            shards, run.seed, epoch, self._local_batch, run.rank, run.world, accumulation=accumulation
        )
        workers, pin_memory = settings.loader_workers, run.device.type == "cuda"
        batches = open_batches(run.data, run.world)
        return load(batches, islice(keys, first, None), workers=workers, pin_memory=pin_memory, prefetch=2)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean over this rank's masked pieces plus the mean over its next-sentence labels."""
        batch = batch.to(self.run.device)
        masked, following = model(batch)
        total = cross_entropy(masked.float(), batch.labels, reduction="sum")
        return total / (len(batch.labels) + EPSILON) + cross_entropy(following.float(), batch.random_next)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The share of masked pieces that are predicted, over all samples together."""
        if self._evaluation is None:
            share = rank_share(self.sample_counts().evaluation, self.run.rank, self.run.world)
            batches = evaluation_batches(self.run.data, self.run.manifest, share, self._local_batch)
            self._evaluation = [batch.to(self.run.device) for batch in batches]
        hits = torch.zeros(2, dtype=torch.int64, device=self.run.device)
        for batch in self._evaluation:
            masked, _ = model(batch)
            hits[0] += (masked.argmax(1) == batch.labels).sum()
            hits[1] += len(batch.labels)
        correct, total = all_sum(hits).tolist()
        return {"mlm_accuracy": correct / total}

    def synthetic_batch(self) -> Batch:
        """Full-length samples of one piece: the most memory that a batch can need."""
        length, samples = self.run.manifest["max_seq_length"], self._local_batch
        places = torch.arange(samples * length)
        masked = places.view(samples, length)[:, 1 : 1 + self.run.manifest["max_predictions"]].flatten()
        ones = torch.ones_like(places)
        return Batch(
            pieces=ones,
            segments=ones,
            positions=places % length,
            offsets=torch.arange(0, samples * length + 1, length, dtype=torch.int32),
            masked=masked,
            labels=ones[masked],
            random_next=ones[:samples],
            lengths=[length] * samples,
        )


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and layer norms are neither decayed nor adapted."""
    parameters = list(model.parameters())
    adapted = [parameter for parameter in parameters if parameter.ndim > 1]
    plain = [parameter for parameter in parameters if parameter.ndim == 1]
    return [{"params": adapted, "weight_decay": weight_decay}, {"params": plain, "adapt": False}]


BENCHMARK = LanguageModelling
