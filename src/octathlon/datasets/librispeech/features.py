"""Samples -> log-mel features, on the training device, many utterances at a time.

As the reference computes them with NVIDIA DALI (mlcommons/training, rnn_speech_recognition/pytorch/common/data/dali/
pipeline.py): dither, pre-emphasis, power spectrogram, Slaney mel bank, natural logarithm, per utterance and feature
zero mean and unit variance; then SpecAugment, and three frames in a row become one.

Utterances lie packed in one signal, because padding to the longest would waste a third of the work: each starts at a
multiple of the hop, with half a window of room before and behind for its own mirror image.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from octathlon.datasets.librispeech.tables import RATE

WINDOW, HOP, FFT, MELS = 320, 160, 512, 80
"""A frame of 20 ms every 10 ms, its spectrum on 257 frequencies, 80 features."""
DITHER = 1e-5
PREEMPHASIS = 0.97
FLOOR = 1e-20
STACK = 3
"""Frames that become one."""

FREQUENCY_MASKS, FREQUENCY_WIDTH = 2, 20
TIME_MASKS, TIME_SHARE = 10, 0.03
DRAWS = 2 * (FREQUENCY_MASKS + TIME_MASKS)
"""Random numbers that SpecAugment needs for an utterance."""


Count = TypeVar("Count", int, Tensor)


class Signal(NamedTuple):
    """Utterances one after the other; see `pack`."""

    samples: Tensor
    """float32 of shape (all slots,)"""
    lengths: Tensor
    """int64 of shape (utterances,), in samples."""
    host_lengths: tuple[int, ...]
    """The same, for the host, which must know shapes without waiting for the device."""

    def to(self, device: torch.device) -> Signal:
        samples, lengths = (part.to(device, non_blocking=True) for part in self[:2])
        return Signal(samples, lengths, self.host_lengths)


def frames(samples: Count) -> Count:
    """How many frames so many samples give."""
    return 1 + samples // HOP


def stacked(frames: Count) -> Count:
    """How many are left when STACK of them become one."""
    return (frames + STACK - 1) // STACK


def pack(utterances: list[np.ndarray]) -> Signal:
    """Put utterances (float32, more than HOP samples each) into slots of HOP * (frames + 1)."""
    lengths = tuple(len(each) for each in utterances)
    starts = [0, *accumulate(HOP * (frames(length) + 1) for length in lengths)]
    samples = torch.zeros(starts[-1] + HOP)
    for start, each in zip(starts, utterances, strict=False):
        samples[start + HOP : start + HOP + len(each)] = torch.from_numpy(each)
    return Signal(samples, torch.tensor(lengths), lengths)


def log_mel(signal: Signal, dither: float = DITHER) -> tuple[Tensor, Tensor]:
    """Normalised features, float32 of shape (utterances, frames of the longest, MELS), padded with 0, and lengths."""
    counts = frames(signal.lengths)
    slots = counts + 1  # in hops
    first = slots.cumsum(0) - slots
    mel = _spectra(_mirrored(signal, HOP * first, dither)) @ _mel_bank(signal.samples.device)
    time = torch.arange(frames(max(signal.host_lengths)), device=mel.device)
    inside = time < counts[:, None]
    rows = torch.where(inside, first[:, None] + time, 0)
    features = mel.clamp_(min=FLOOR).log_()[rows]
    return _normalised(features, inside[:, :, None], counts[:, None]), counts


def _mirrored(signal: Signal, starts: Tensor, dither: float) -> Tensor:
    """The signal with noise and pre-emphasis, and each utterance reflected at its ends."""
    samples = torch.randn_like(signal.samples).mul_(dither).add_(signal.samples)
    heads = starts + HOP
    emphasised = samples.clone()
    emphasised[1:].sub_(samples[:-1], alpha=PREEMPHASIS)
    emphasised[heads] = (1 - PREEMPHASIS) * samples[heads]
    distance = torch.arange(1, HOP + 1, device=samples.device)
    heads, tails = heads[:, None], (heads + signal.lengths - 1)[:, None]
    emphasised[tails + distance] = emphasised[
        tails - distance
    ]  # reaches into the next slot's room before it,
    emphasised[heads - distance] = emphasised[heads + distance]  # which is filled only now
    return emphasised


def _spectra(signal: Tensor) -> Tensor:
    """Power spectra of all windows, of shape (hops, FFT / 2 + 1)."""
    windows = signal.unfold(0, WINDOW, HOP) * _hann(signal.device)
    spectra = torch.fft.rfft(windows, n=FFT)
    return spectra.real.square().addcmul_(spectra.imag, spectra.imag)


def _normalised(features: Tensor, inside: Tensor, counts: Tensor) -> Tensor:
    """Zero mean and unit variance (of the population) over an utterance's frames; a constant feature becomes 0."""
    features = (features - features[:, :1]) * inside  # a constant is exactly 0 now
    features = (features - (features.sum(1) / counts)[:, None]) * inside
    deviation = (features.square().sum(1) / counts).sqrt()
    return features.div_(deviation.where(deviation > 0, 1)[:, None])


@cache
def _hann(device: torch.device) -> Tensor:
    """A Hann window, sampled half a step from its ends."""
    return (0.5 * (1 - torch.cos(2 * torch.pi * (torch.arange(WINDOW) + 0.5) / WINDOW))).to(device)


@cache
def _mel_bank(device: torch.device) -> Tensor:
    """Triangles on Slaney's scale with unit area, of shape (FFT / 2 + 1, MELS)."""
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(FFT // 2 + 1, 0, RATE / 2, MELS, RATE, norm="slaney", mel_scale="slaney").to(
        device
    )


def spec_augment(features: Tensor, counts: Tensor, draws: Tensor) -> Tensor:
    """Set random bands of features and of frames to 0, the mean (Park et al. 2019, arXiv:1904.08779; no time warping).

    Widths of time masks depend on the utterance's own length, their places on the padded one, as in the reference.

    Args:
        features: of shape (utterances, frames, MELS)
        counts: frames of each utterance
        draws: uniform random numbers below 1, of shape (utterances, DRAWS)
    """
    split = [FREQUENCY_MASKS, FREQUENCY_MASKS, TIME_MASKS, TIME_MASKS]
    frequency_widths, frequency_starts, time_widths, time_starts = draws.split(split, dim=1)
    widest = (TIME_SHARE * counts.double()).round()[:, None]
    frequencies = _bands(frequency_widths, frequency_starts, FREQUENCY_WIDTH, MELS)
    times = _bands(time_widths, time_starts, widest, features.shape[1])
    return features.masked_fill(frequencies[:, None, :] | times[:, :, None], 0)


def _bands(widths: Tensor, starts: Tensor, widest: Tensor | float, size: int) -> Tensor:
    """Where one of the bands lies: bool of shape (utterances, size)."""
    widths = (widths * (widest + 1)).floor()[:, :, None]
    starts = (starts[:, :, None] * ((size - widths).clamp(min=0) + 1)).floor()
    positions = torch.arange(size, device=widths.device)
    return ((positions >= starts) & (positions < starts + widths)).any(1)


def stack_frames(features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Each STACK frames in a row as one: (utterances, frames, MELS) -> (frames / STACK, utterances, STACK * MELS)."""
    missing = -features.shape[1] % STACK
    features = torch.nn.functional.pad(features, (0, 0, 0, missing))
    groups = features.view(len(features), -1, STACK * MELS)
    return groups.transpose(0, 1), stacked(counts)
