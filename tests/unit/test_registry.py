"""Names are found by listing folders, and an unknown one is refused with those that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from octathlon import registry
from octathlon.archives.sources import declared
from octathlon.contracts import Benchmark
from octathlon.errors import OctathlonError
from octathlon.settings import BenchmarkSettings, DatasetSettings


def test_resnet_and_its_data_are_there() -> None:
    assert "resnet" in registry.benchmarks() and "imagenet" in registry.datasets()
    assert registry.dataset_of("resnet") == "imagenet"


@pytest.mark.parametrize("name", registry.benchmarks())
def test_every_benchmark_gives_its_parts(name: str) -> None:
    assert issubclass(registry.benchmark_class(name), Benchmark)
    assert issubclass(registry.benchmark_settings(name), BenchmarkSettings)
    assert registry.dataset_of(name) in [None, *registry.datasets()]
    scales = [
        registry.benchmark_settings(name)(**registry.defaults("benchmarks", name, s)) for s in registry.SCALES
    ]
    assert scales[0].target.keys() == scales[1].target.keys()
    assert scales[1].division == "closed"


@pytest.mark.parametrize("name", registry.datasets())
def test_every_data_set_gives_its_parts(name: str) -> None:
    assert issubclass(registry.dataset_settings(name), DatasetSettings)
    assert callable(registry.preparer(name).prepare) and callable(registry.miniature(name).draw)
    assert declared(name, registry.sources(name))


@pytest.mark.parametrize(
    ("ask", "known"),
    [
        (registry.benchmark_class, registry.benchmarks()),
        (registry.benchmark_settings, registry.benchmarks()),
        (registry.dataset_of, registry.benchmarks()),
        (registry.dataset_settings, registry.datasets()),
        (registry.preparer, registry.datasets()),
        (registry.miniature, registry.datasets()),
        (registry.sources, registry.datasets()),
    ],
)
@pytest.mark.parametrize("name", ["nothing", "", "..", "resnet.model", "__init__"])
def test_an_unknown_name_is_refused_with_the_known_ones(
    ask: Callable[[str], Any], known: list[str], name: str
) -> None:
    with pytest.raises(OctathlonError, match=f"unknown name {name!r}: choose one of {', '.join(known)}"):
        ask(name)
