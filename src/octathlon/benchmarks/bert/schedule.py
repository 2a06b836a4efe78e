"""The learning rate of the BERT reference (optimization.py in mlcommons/training, language_model/tensorflow/bert)."""

from __future__ import annotations


def learning_rate(
    step: int, *, base: float, start_warmup_step: int, warmup_steps: int, training_steps: int, power: float
) -> float:
    """The rate of 0-based `step`.

    It rises linearly from 0 at `start_warmup_step` for `warmup_steps` steps. The decay to 0 at `training_steps` counts
    from step 0 all the same, so the rate jumps down where the warm-up ends. Without a warm-up its start has no effect.
    """
    if warmup_steps and step - start_warmup_step < warmup_steps:
        return base * (step - start_warmup_step) / warmup_steps
    return base * (1 - min(step, training_steps) / training_steps) ** power
