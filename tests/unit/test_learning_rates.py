"""The learning rates of all benchmarks stay between 0 and the base, or the settings are refused at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from torch import nn

from octathlon import registry
from octathlon.config import load
from octathlon.contracts import Progress, Run
from octathlon.errors import OctathlonError

MANIFESTS = {
    "resnet": {"counts": {"train": 320, "eval": 8}, "classes": [{}] * 2},
    "unet3d": {"counts": {"train": 16, "eval": 8}, "classes": ["background", "kidney"]},
    "ssd": {"counts": {"train": {"ssd": 80}, "eval": 8}, "categories": [{"id": 1}]},
    "maskrcnn": {"counts": {"train": {"maskrcnn": 80}, "eval": 8}, "categories": [{"id": 1}]},
    "rnnt": {"counts": {"train": 80, "eval": 8}, "pieces": 9},
    "bert": {
        "counts": {"train": 80, "eval": 8},
        "vocabulary": 30,
        "max_seq_length": 8,
        "max_predictions": 2,
        "checkpoint": "checkpoint.safetensors",
    },
    "dlrm": {"counts": {"train": 1280, "eval": 8}, "table_sizes": [4, 3]},
    "minigo": {"generations": [{"games": 128}], "board_size": 5, "global_step": 0},
}
"""Of data sets with about ten updates an epoch; nothing but these is looked at."""

rates = st.floats(1e-6, 1e6)
steps = st.integers(0, 40)
some_steps = st.integers(1, 40)
epochs = st.integers(0, 4)
some_epochs = st.integers(1, 4)
SCHEDULES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "resnet": {
        "base_learning_rate": rates,
        "end_learning_rate": rates | st.just(0),
        "decay_power": st.floats(0.1, 5),
        "warmup_epochs": epochs,
        "planned_epochs": some_epochs,
    },
    "unet3d": {
        "base_learning_rate": rates,
        "initial_learning_rate": rates | st.just(0),
        "warmup_epochs": epochs,
        "decay_epochs": st.lists(some_epochs, max_size=2),
        "decay_factor": st.floats(0.01, 100),
    },
    "ssd": {
        "learning_rate_per_32": rates,
        "warmup_epochs": st.floats(0.01, 4),
        "warmup_factor": st.integers(0, 2000),
        "decay_epochs": st.tuples(some_epochs, some_epochs),
    },
    "maskrcnn": {
        "base_learning_rate": rates,
        "warmup_steps": steps,
        "warmup_factor": rates,
        "decay_steps": st.tuples(some_steps, some_steps),
    },
    "rnnt": {
        "base_learning_rate": rates,
        "min_learning_rate": rates,
        "warmup_epochs": epochs,
        "hold_epochs": epochs,
        "decay": st.floats(0.01, 1),
    },
    "bert": {
        "base_learning_rate": rates,
        "training_steps": some_steps,
        "num_warmup_steps": steps,
        "start_warmup_step": st.integers(-40, 40),
        "decay_power": st.floats(0.1, 5),
    },
    "dlrm": {
        "base_learning_rate": rates,
        "warmup_steps": steps,
        "decay_start_steps": steps,
        "decay_steps": some_steps,
        "decay_power": st.floats(0.1, 5),
    },
    "minigo": {
        "lr_boundaries": st.tuples(some_steps, some_steps),
        "lr_rates": st.tuples(rates, rates, rates),
    },
}


def configured(name: str, **over: Any) -> Any:
    """The settings as the workflow reads them, before any job."""
    return load({"benchmarks": [name], "overrides": {name: over}}).benchmarks[name]


def rates_of(name: str, settings: Any, updates: int = 60) -> list[list[float]]:
    """What the optimizer gets for each update: the rate of each of its groups."""
    run = Run(seed=1, device=torch.device("cpu"), manifest=MANIFESTS[name])
    benchmark = registry.benchmark_class(name)(settings, run)
    model = benchmark.build_model() if name == "dlrm" else nn.Linear(2, 2)
    optimizer, schedule = benchmark.build_optimizer(model)
    found = []
    for step in range(updates):
        schedule.set(Progress(train_samples=80, steps=step, epochs=step // 10))
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def base_of(name: str, settings: Any) -> float:
    return max(settings.lr_rates) if name == "minigo" else settings.base_learning_rate


@pytest.mark.parametrize("name", registry.benchmarks())
@effort(max_examples=60)
@given(data=st.data())
def test_settings_are_refused_or_their_rates_stay_in_bounds(name: str, data: st.DataObject) -> None:
    over = data.draw(st.fixed_dictionaries(SCHEDULES[name]))
    try:
        settings = configured(name, **over)
    except OctathlonError as error:
        assert "must" in str(error) or "learning rate" in str(error)
        return
    base = base_of(name, settings)
    for groups in rates_of(name, settings):
        assert 0 <= groups[0] <= base * (1 + 1e-9)
        assert all(
            0 <= rate <= 2 * base * (1 + 1e-9) for rate in groups
        )  # maskrcnn's biases learn twice as fast


@pytest.mark.parametrize(
    ("name", "over", "keys", "rate"),
    [
        ("maskrcnn", {"base_learning_rate": 0.01}, "warmup_steps and warmup_factor", "-0.0254"),
        ("resnet", {"end_learning_rate": 4.0}, "end_learning_rate", "4"),
        ("unet3d", {"initial_learning_rate": 6.0}, "initial_learning_rate and warmup_epochs", "5.5"),
        ("unet3d", {"decay_epochs": [9], "decay_factor": 1.5}, "decay_epochs and decay_factor", "1.5"),
        ("rnnt", {"min_learning_rate": 0.5}, "min_learning_rate", "0.5"),
        ("bert", {"start_warmup_step": 6}, "start_warmup_step and num_warmup_steps", "-0.003"),
    ],
)
def test_the_refusal_names_the_keys_and_the_rate(name: str, over: dict, keys: str, rate: str) -> None:
    expected = f"overrides.{name}: with these {keys} the learning rate would be {rate}: "
    with pytest.raises(OctathlonError, match=expected):
        configured(name, **over)


def test_the_record_whose_first_rates_would_be_negative_is_refused() -> None:
    """The RCPs of v1.1 have 800 steps of 0.000096 to 0.06 for a batch of 48; the real runs took 625 steps."""
    facts = {"base_learning_rate": 0.06, "warmup_factor": 0.000096}
    assert configured("maskrcnn", warmup_steps=625, **facts)
    with pytest.raises(OctathlonError, match="would be -0.0167"):
        configured("maskrcnn", warmup_steps=800, **facts)


def test_a_warm_up_that_ends_after_the_decay_is_refused() -> None:
    with pytest.raises(OctathlonError, match="warmup_epochs 13 must not exceed planned_epochs 12"):
        configured("resnet", warmup_epochs=13)


@pytest.mark.parametrize("boundaries", [[300, 200], [300, 300]])
def test_rates_without_an_order_are_refused(boundaries: list[int]) -> None:
    with pytest.raises(OctathlonError, match=r"lr_boundaries \[300, \d+\] must rise"):
        configured("minigo", lr_boundaries=boundaries, lr_rates=[0.1, 0.03, 0.01])


@pytest.mark.parametrize("scale", registry.SCALES)
def test_the_scales_own_rates_are_in_bounds(scale: str) -> None:
    assert set(load({"scale": scale}).benchmarks) == set(registry.benchmarks()) == set(SCHEDULES)


def test_maskrcnns_warm_up_is_dropped_as_a_whole() -> None:
    """mlperf_linear of the reference: what lacks is taken off before the factor of the drops."""
    over = {
        "base_learning_rate": 0.02,
        "warmup_steps": 8,
        "warmup_factor": 0.0025,
        "decay_steps": (4, 6),
    }
    found = rates_of("maskrcnn", configured("maskrcnn", **over), updates=9)
    weights = [0.0025, 0.005, 0.0075, 0.001, 0.00125, 0.00015, 0.000175, 0.0002, 0.0002]
    biases = [0.0225, 0.025, 0.0275, 0.003, 0.00325, 0.00035, 0.000375, 0.0004, 0.0004]
    assert [groups[0] for groups in found] == pytest.approx(weights, rel=1e-9)
    assert [groups[1] for groups in found] == pytest.approx(biases, rel=1e-9)


def test_without_a_warm_up_its_start_has_no_effect() -> None:
    settings = configured("bert", num_warmup_steps=0, start_warmup_step=5, training_steps=10)
    assert rates_of("bert", settings, updates=1) == [[0.015, 0.015]]
