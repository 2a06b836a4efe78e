"""Speech recognition: RNN-T on LibriSpeech (MLPerf Training v1.1, `rnnt`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octathlon.benchmarks.rnnt.decoding import greedy_decode, word_errors
from octathlon.benchmarks.rnnt.loss import Lengths
from octathlon.benchmarks.rnnt.model import TENSOR_NAMES, Transducer, encoded_length
from octathlon.benchmarks.rnnt.schedule import warmup_hold_decay
from octathlon.benchmarks.rnnt.settings import Settings
from octathlon.contracts import Benchmark, Run, SampleCounts, Schedule
from octathlon.datasets.librispeech import features
from octathlon.datasets.librispeech.loader import (
    Batch,
    Batches,
    Key,
    Utterances,
    bucketed_order,
    decode,
    eval_transcripts,
)
from octathlon.errors import OctathlonError
from octathlon.nn.lamb import Lamb, clip_gradients
from octathlon.nn.loading import load
from octathlon.nn.sampling import rank_batches, rank_share
from octathlon.nn.schedules import StepSchedule
from octathlon.nn.world import all_sum


class SpeechRecognition(Benchmark[Settings]):
    """The contract's members for rnnt."""

    fixed_shapes = False

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        self._epoch_steps = run.manifest["counts"]["train"] // settings.global_batch_size
        if not self._epoch_steps:
            raise OctathlonError(
                f"global_batch_size {settings.global_batch_size} is more than the "
                f"{run.manifest['counts']['train']} training utterances: choose a smaller one"
            )
        self._next_epoch = 0
        self._evaluation: tuple[list[int], Iterable[Batch]] | None = None

    def sample_counts(self) -> SampleCounts:
        """Training counts whole updates only: the rest of an epoch, another one each time, is left out."""
        used = self._epoch_steps * self.settings.global_batch_size
        return SampleCounts(used, self.run.manifest["counts"]["eval"])

    def build_model(self) -> nn.Module:
        """In fp32 a GPU may use TF32, as the reference's PyTorch did by default."""
        torch.backends.cuda.matmul.allow_tf32 = True
        settings = self.settings
        model = Transducer(
            features=features.STACK * features.MELS,
            pieces=self.run.manifest["pieces"],
            **settings.model_dump(include=MODEL_KEYS),
        )
        return model.to(self.run.device)

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        return TENSOR_NAMES

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        settings = self.settings
        self._averaged = deepcopy(model).eval()
        for layer in self._averaged.children():
            if isinstance(layer, nn.LSTM):
                layer.flatten_parameters()  # a copy's weights lie apart, and would be moved at every call
        optimizer = Lamb(
            [{"params": list(model.parameters())}],
            betas=(settings.beta_1, settings.beta_2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
        rate = partial(
            warmup_hold_decay,
            base=settings.base_learning_rate,
            least=settings.min_learning_rate,
            warmup_epochs=settings.warmup_epochs,
            hold_epochs=settings.hold_epochs,
            decay=settings.decay,
            epoch_steps=self._epoch_steps,
        )
        return optimizer, StepSchedule(optimizer, rate)

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        shortest, longest = settings.speed_percent
        return {
            "opt_name": "lamb",
            "opt_base_learning_rate": settings.base_learning_rate,
            "opt_lamb_learning_rate_min": settings.min_learning_rate,
            "opt_learning_rate_warmup_epochs": settings.warmup_epochs,
            "opt_learning_rate_alt_warmup_func": True,
            "opt_lamb_learning_rate_hold_epochs": settings.hold_epochs,
            "opt_lamb_learning_rate_decay_poly_power": settings.decay,
            "opt_learning_rate_alt_decay_func": True,
            "opt_lamb_beta_1": settings.beta_1,
            "opt_lamb_beta_2": settings.beta_2,
            "opt_lamb_epsilon": settings.epsilon,
            "opt_weight_decay": settings.weight_decay,
            "opt_gradient_clip_norm": settings.clip_norm,
            "model_weights_initialization_scale": settings.init_scale,
            "model_eval_ema_factor": settings.ema_factor,
            "eval_max_prediction_symbols": settings.max_prediction_symbols,
            "data_train_max_duration": self.run.manifest["max_duration_s"],
            "data_train_num_buckets": settings.buckets,
            "data_speed_perturbaton_min": shortest / 100,  # spelt as the round demands it
            "data_speed_perturbaton_max": longest / 100,
            "data_spec_augment_freq_n": features.FREQUENCY_MASKS,
            "data_spec_augment_freq_min": 0,
            "data_spec_augment_freq_max": features.FREQUENCY_WIDTH,
            "data_spec_augment_time_n": features.TIME_MASKS,
            "data_spec_augment_time_min": 0,
            "data_spec_augment_time_max": features.TIME_SHARE,
        }

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """One stream over all epochs, so that the workers never wait for an epoch or an evaluation to end."""
        if epoch != self._next_epoch:
            utterances = Utterances(self.run.data, self.run.manifest, "train")
            batches = Batches(utterances, self.run.seed, self.settings.speed_percent)
            self._training = iter(self._load(batches, islice(self._training_keys(epoch), first, None)))
        self._next_epoch = epoch + 1
        return islice(self._training, self._epoch_steps * self.settings.gradient_accumulation_steps - first)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(self.run.device)
        inputs, lengths = self._features(batch, augment=True)
        host_frames = [
            encoded_length(features.stacked(features.frames(samples)))
            for samples in batch.signal.host_lengths
        ]
        sizes = Lengths(encoded_length(lengths), batch.token_counts, host_frames, batch.host_token_counts)
        return model(inputs, batch.tokens, sizes)

    def evaluated(self, model: nn.Module) -> nn.Module:
        return self._averaged

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        """None: a GPU's library runs recurrent layers as a whole, and the loss is made of few large operations."""
        return ()

    def update(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Clip, step, and let the averaged weights follow."""
        clip_gradients(model.parameters(), self.settings.clip_norm)
        optimizer.step()
        with torch.no_grad():
            averaged, latest = list(self._averaged.parameters()), list(model.parameters())
            torch._foreach_lerp_(averaged, latest, 1 - self.settings.ema_factor)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Word error rate of the averaged weights, never in bf16: each rank transcribes its share."""
        if self._evaluation is None:
            self._evaluation = self._load_evaluation()
        numbers, batches = self._evaluation
        # a step of the decoding is so small that casting weights for bf16 would take longer than it gains
        with torch.autocast(self.run.device.type, enabled=False):
            texts = decode([tokens for batch in batches for tokens in self._transcribe(batch)], self.run.data)
        references = eval_transcripts(self.run.data)
        errors = sum(
            word_errors(text, references[number]) for text, number in zip(texts, numbers, strict=True)
        )
        words = sum(len(references[number].split()) for number in numbers)
        errors, words = all_sum(torch.tensor([errors, words], device=self.run.device)).tolist()
        return {"WER": errors / words}

    def synthetic_batch(self) -> Batch:
        """Noise as long as the longest utterance at the slowest speed, with the most tokens."""
        longest = self.run.manifest["longest"]["train"]
        samples = longest["samples"] * self.settings.speed_percent[1] // 100
        noise = np.random.default_rng(0).standard_normal(samples, dtype=np.float32)
        return Batch(
            features.pack([noise] * self._local_batch),
            torch.ones(self._local_batch, longest["tokens"], dtype=torch.int32),
            torch.full((self._local_batch,), longest["tokens"], dtype=torch.int32),
            torch.zeros(self._local_batch, features.DRAWS),
            (longest["tokens"],) * self._local_batch,
        )

    def _features(self, batch: Batch, *, augment: bool) -> tuple[Tensor, Tensor]:
        """The model's inputs, of shape (frames, utterances, features), and the utterances' frames; never in bf16."""
        with torch.no_grad(), torch.autocast(self.run.device.type, enabled=False):
            mel, counts = features.log_mel(batch.signal)
            if augment:
                mel = features.spec_augment(mel, counts, batch.draws)
            return features.stack_frames(mel, counts)

    def _transcribe(self, batch: Batch) -> list[list[int]]:
        inputs, lengths = self._features(batch.to(self.run.device), augment=False)
        encoded = self._averaged.encode(inputs)
        return greedy_decode(
            self._averaged, encoded, encoded_length(lengths), self.settings.max_prediction_symbols
        )

    def _training_keys(self, first_epoch: int) -> Iterator[Key]:
        """This rank's micro-batches, from the start of `first_epoch` on without end."""
        for epoch in count(first_epoch):
            order = bucketed_order(
                self.run.manifest["counts"]["train"],
                self.settings.buckets,
                self._local_batch * self.run.world,
                self.settings.global_batch_size,
                np.random.default_rng([self.run.seed, epoch]),
            )
            for numbers in rank_batches(order, self._local_batch, self.run.rank, self.run.world):
                yield epoch, numbers

    def _load_evaluation(self) -> tuple[list[int], Iterable[Batch]]:
        """This rank's share of the evaluation set, none twice, none left out: the numbers of its utterances, and
        they themselves in batches of like length."""
        utterances = Utterances(self.run.data, self.run.manifest, "eval")
        share = rank_share(len(utterances), self.run.rank, self.run.world)
        numbers = sorted(share, key=lambda number: utterances.lengths[number])
        size = self.settings.eval_batch_size
        keys = [(0, numbers[start : start + size]) for start in range(0, len(numbers), size)]
        return numbers, self._load(Batches(utterances), keys)

    def _load(self, batches: Batches, keys: Iterable[Key]) -> Iterable[Batch]:
        return load(
            batches,
            keys,
            workers=self.settings.loader_workers,
            pin_memory=self.run.device.type == "cuda",
        )


MODEL_KEYS = {
    *("pre_layers", "post_layers", "encoder_width", "encoder_dropout"),
    *("prediction_layers", "prediction_width", "prediction_dropout"),
    *("joint_width", "joint_dropout", "init_scale"),
}
"""Settings that are arguments of the model."""

BENCHMARK = SpeechRecognition
