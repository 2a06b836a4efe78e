"""Learning rates against values of the MLPerf ResNet reference."""

from __future__ import annotations

import pytest
import torch

from octathlon.contracts import Progress
from octathlon.nn.schedules import StepSchedule, warmup_polynomial

LONG = {"base": 10.0, "end": 1e-4, "warmup_steps": 5 * 313, "decay_steps": 11582, "power": 2}
SHORT = {"base": 10.5, "end": 1e-4, "warmup_steps": 2 * 393, "decay_steps": 13756, "power": 2}


@pytest.mark.parametrize(
    ("schedule", "step", "rate"),
    [
        (LONG, 0, 0.0),
        (LONG, 1, 0.00638978),
        (LONG, 782, 4.996805),
        (LONG, 1565, 10.0),
        (LONG, 1566, 9.998273),
        (LONG, 6573, 3.221821),
        (LONG, 13145, 1.003e-4),
        (SHORT, 1, 0.01335878),
        (SHORT, 393, 5.25),
        (SHORT, 786, 10.5),
        (SHORT, 787, 10.498473),
        (SHORT, 7270, 2.934427),
    ],
)
def test_the_references_rates(schedule: dict[str, float], step: int, rate: float) -> None:
    assert warmup_polynomial(step, **schedule) == pytest.approx(rate, rel=1e-4 if rate < 1e-3 else 1e-6)


def test_after_its_end_the_rate_stays() -> None:
    assert warmup_polynomial(100_000, **LONG) == pytest.approx(1e-4)


def test_without_warm_up_it_starts_at_the_base() -> None:
    assert warmup_polynomial(0, base=3.0, end=0.0, warmup_steps=0, decay_steps=10, power=2) == 3.0


def test_the_step_counts_updates_and_all_groups_get_the_rate() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [each]} for each in parameters], lr=0.0)
    schedule = StepSchedule(optimizer, lambda step: step / 10)
    progress = Progress(train_samples=100, steps=7, samples=99, epochs=3)
    assert schedule.set(progress) == 0.7
    assert [group["lr"] for group in optimizer.param_groups] == [0.7, 0.7]
