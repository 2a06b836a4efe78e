"""The learning rate of the MLPerf RNN-T reference."""

from __future__ import annotations


def warmup_hold_decay(
    step: int,
    *,
    base: float,
    least: float,
    warmup_epochs: int,
    hold_epochs: int,
    decay: float,
    epoch_steps: int,
) -> float:
    """The rate of the update that follows `step` finished ones: a ramp, a plateau, then a factor for each epoch.

    Steps and epochs count from 1 in the reference (mlcommons/training, rnn_speech_recognition/pytorch/common/
    optimizers.py, lr_policy); `least` holds in the ramp, too.
    """
    number, epoch = step + 1, step // epoch_steps + 1
    if number < warmup_epochs * epoch_steps:
        factor = (number + 1) / (warmup_epochs * epoch_steps + 1)
    elif number < (warmup_epochs + hold_epochs) * epoch_steps:
        factor = 1.0
    else:
        factor = decay ** (epoch - warmup_epochs - hold_epochs)
    return max(factor * base, least)
