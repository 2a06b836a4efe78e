"""What happens to an utterance's samples before any feature is computed: another speed, silent ends cut off.

Both as NVIDIA DALI's audio decoder and NonsilentRegion do it for the reference (mlcommons/training,
rnn_speech_recognition/pytorch/common/data/dali/pipeline.py).
"""

from __future__ import annotations

from functools import cache

import numpy as np

LOBES = 16
"""Half the width, in samples, of the resampling filter."""
STEP = 100
"""Speeds are multiples of 1 / STEP: the reference draws them from a continuum."""

WINDOW = 2048
SILENCE = 1e-6
"""-60 dB: power of silence, as a share of the greatest."""


def change_speed(samples: np.ndarray, percent: int) -> np.ndarray:
    """Resample to `percent` / 100 times as many samples, rounded up, which are then played at the old rate.

    Like the reference's filter, a Hann-windowed sinc of 16 lobes, this one cuts nothing off when fewer samples come
    out than went in: what is above their Nyquist frequency is folded back.

    Args:
        samples: float32 of shape (samples,)
    """
    if percent == STEP:
        return samples
    kernel = _kernel(percent)
    blocks = -(-len(samples) // STEP)
    padded = np.zeros(blocks * STEP + 2 * LOBES, dtype=np.float32)
    padded[LOBES : LOBES + len(samples)] = samples
    rows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel))[::STEP]
    return (rows @ kernel).ravel()[: -(-len(samples) * percent // STEP)]


@cache
def _kernel(percent: int) -> np.ndarray:
    """Weights of the inputs -LOBES to STEP + LOBES - 1 in each of the `percent` outputs made of STEP inputs."""
    outputs = np.arange(percent) * STEP / percent
    distance = outputs - np.arange(-LOBES, STEP + LOBES)[:, None]
    window = np.where(np.abs(distance) < LOBES, 0.5 * (1 + np.cos(np.pi * distance / LOBES)), 0)
    return (np.sinc(distance) * window).astype(np.float32)


def trim_silence(samples: np.ndarray) -> np.ndarray:
    """Without what comes more than a window before the first or after the last loud sample.

    Loud is where the mean power of the last 2,048 samples is above -60 dB of its maximum; before the start there are
    zeros.
    """
    energy = np.zeros(len(samples) + WINDOW)
    np.cumsum(np.square(samples, dtype=np.float64), out=energy[WINDOW:])
    power = energy[WINDOW:] - energy[:-WINDOW]
    loud = power > SILENCE * power.max()
    first, last = loud.argmax(), len(loud) - loud[::-1].argmax()
    return samples[max(0, first - WINDOW + 1) : last]
