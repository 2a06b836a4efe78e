"""Prepared LibriSpeech -> batches of samples and tokens, for any number of workers and ranks.

One item of a data set here is a whole micro-batch: the sampler says which utterances, a worker reads their samples and
changes their speed. What depends on chance depends on seed, epoch and the utterance's number alone, so neither workers
nor ranks change what is trained on. Features are computed later, on the training device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.librispeech.features import DRAWS, Signal, pack
from octathlon.datasets.librispeech.tables import SAMPLE, TOKEN, UTTERANCE, read_array, read_lines, read_model
from octathlon.datasets.librispeech.waveforms import STEP, change_speed, trim_silence
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError

Key = tuple[int, Sequence[int]]
"""What identifies a micro-batch: the epoch and the numbers of the utterances."""


class Batch(NamedTuple):
    """Some utterances."""

    signal: Signal
    tokens: Tensor
    """int32 of shape (utterances, tokens of the longest), padded with 0."""
    token_counts: Tensor
    """int32 of shape (utterances,)"""
    draws: Tensor
    """Random numbers for SpecAugment, float32 of shape (utterances, DRAWS)."""
    host_token_counts: tuple[int, ...]
    """`token_counts`, for the host; see `Signal`."""

    def to(self, device: torch.device) -> Batch:
        parts = (part.to(device, non_blocking=True) for part in self[1:4])
        return Batch(self.signal.to(device), *parts, self.host_token_counts)


class Utterances:
    """The utterances of one split, by number."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        self._parts = Shards([folder / f"{part}.pcm" for part in manifest["parts"]])
        self._table = read_array(folder / f"{split}.npy", UTTERANCE)
        self._tokens = read_array(folder / f"{split}.tokens.npy", TOKEN)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each utterance."""
        return self._table["samples"]

    def samples(self, number: int) -> np.ndarray:
        """An utterance's samples, float32 between -1 and 1.

        Raises:
            OctathlonError: if the file is missing or cut short.
        """
        part, offset, count, _, _ = self._table[number].item()
        samples = np.empty(count, dtype=SAMPLE)
        try:
            self._parts.fill(part, offset * SAMPLE.itemsize, samples)
        except OSError as error:
            raise OctathlonError(
                f"{self._parts.paths[part]}: cannot read utterance {number} ({error}); prepare librispeech again"
            ) from error
        return samples * np.float32(1 / 32768)

    def tokens(self, number: int) -> np.ndarray:
        """An utterance's transcript in word pieces, of dtype TOKEN."""
        _, _, _, first, count = self._table[number].item()
        return self._tokens[first : first + count]


class Batches(Dataset[Batch]):
    """A data set of micro-batches.

    Args:
        seed: of the random speeds and masks; None for evaluation, which has neither.
        speeds: the range of the speeds, in percent of the original number of samples.
    """

    def __init__(
        self, utterances: Utterances, seed: int | None = None, speeds: tuple[int, int] = (STEP, STEP)
    ) -> None:
        self._utterances = utterances
        self._seed = seed
        self._speeds = speeds

    def __getitem__(self, key: Key) -> Batch:
        epoch, numbers = key
        waves, draws = zip(*(self._wave(epoch, number) for number in numbers), strict=True)
        tokens = [self._utterances.tokens(number) for number in numbers]
        counts = np.array([len(each) for each in tokens], dtype=np.int32)
        padded = np.zeros((len(numbers), counts.max()), dtype=np.int32)
        padded[np.arange(counts.max()) < counts[:, None]] = np.concatenate(tokens)
        return Batch(
            pack(list(waves)),
            torch.from_numpy(padded),
            torch.from_numpy(counts),
            torch.from_numpy(np.stack(draws)),
            tuple(counts.tolist()),
        )

    def _wave(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """An utterance's samples at a random speed, without silent ends, and its numbers for SpecAugment."""
        samples = self._utterances.samples(number)
        if self._seed is None:
            return trim_silence(samples), np.zeros(DRAWS, dtype=np.float32)
        rng = np.random.default_rng([self._seed, epoch, number])
        lowest, highest = self._speeds
        samples = change_speed(samples, int(rng.integers(lowest, highest + 1)))
        return trim_silence(samples), rng.random(DRAWS, dtype=np.float32)


def decode(tokens: list[list[int]], folder: Path) -> list[str]:
    """The texts that word pieces stand for."""
    return read_model(folder).decode(tokens)


def eval_transcripts(folder: Path) -> list[str]:
    """The texts of the evaluation utterances, in the order of their numbers."""
    return read_lines(folder / "eval.txt")


def bucketed_order(
    utterances: int, buckets: int, batch: int, update: int, rng: np.random.Generator
) -> np.ndarray:
    """An epoch's order of utterances, whose numbers follow their lengths: whole updates of whole micro-batches.

    Each of `buckets` slices of like lengths is shuffled; a random few are left out so that `update` divides the rest;
    the global micro-batches of `batch` are shuffled in turn. With one bucket it is a plain shuffle. (common/data/dali/
    sampler.py of the reference.)
    """
    slices = np.array_split(np.arange(utterances), buckets)
    order = np.concatenate([rng.permutation(each) for each in slices])
    left_out = rng.choice(utterances, utterances % update, replace=False)
    groups = np.delete(order, left_out).reshape(-1, batch)
    return rng.permutation(groups).ravel()
