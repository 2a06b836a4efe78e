"""Systems as the scheduler and the launchers see them, and the division."""

from __future__ import annotations

import pytest

from octathlon.config import load
from octathlon.errors import OctathlonError
from octathlon.systems import System


def asked_for(**facts):
    return {name: value for name, value in System(**facts).scheduling().items() if value is not None}


def test_one_process_takes_the_cores_of_its_node():
    system = {"cores_per_node": 16, "accelerators_per_node": 1, "memory_mb": 64_000, "runtime_min": 90}
    assert System(**system).launch() == ""
    assert asked_for(**system) == {"threads": 16, "mem_mb": 64_000, "runtime": 90, "nodes": 1, "gpu": 1}


def test_torchrun_is_one_task_that_starts_its_ranks_itself():
    system = {
        "processes_per_node": 8,
        "cores_per_node": 64,
        "accelerators_per_node": 8,
        "launcher": "torchrun",
    }
    assert System(**system).launch() == "octathlon launch --ranks 8 "
    asked = asked_for(**system)
    assert (asked["threads"], asked["gpu"]) == (64, 8)
    assert "mpi" not in asked


def test_srun_allocates_tasks_and_counts_gpus_of_all_nodes():
    system = System(
        nodes=4, processes_per_node=8, cores_per_node=64, accelerators_per_node=8, launcher="srun"
    )
    assert system.launch() == "srun --kill-on-bad-exit --nodes 4 --ntasks 32 --ntasks-per-node 8 "
    asked = {name: value for name, value in system.scheduling().items() if value is not None}
    assert asked == {
        **{"threads": 8, "mem_mb": 3000, "runtime": 60, "nodes": 4, "gpu": 32},
        **{"mpi": "srun", "tasks_per_node": 8},
    }


def test_srun_with_one_task_a_node_counts_tasks():
    asked = asked_for(nodes=2, accelerators_per_node=1, launcher="srun")
    assert (asked["tasks"], asked["tasks_per_gpu"], asked["gpu"]) == (2, 1, 2)
    assert "tasks_per_node" not in asked  # the plugin refuses 1


def test_a_node_alone_has_what_a_run_has_of_each_node():
    system = System(
        nodes=4,
        processes_per_node=8,
        cores_per_node=64,
        accelerators_per_node=8,
        launcher="srun",
        memory_mb=5,
    )
    assert {name: value for name, value in system.one_node().scheduling().items() if value is not None} == {
        "threads": 64,
        "mem_mb": 5,
        "runtime": 60,
        "nodes": 1,
        "gpu": 8,
    }


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"nodes": 2}, "launcher: python starts one process"),
        ({"nodes": 2, "launcher": "torchrun"}, "launcher: torchrun serves one node"),
        ({"launcher": "srun"}, "launcher: srun starts several"),
        ({"processes_per_node": 2, "launcher": "torchrun"}, "cores_per_node: 1 cannot serve 2 processes"),
    ],
)
def test_launchers_that_do_not_fit(facts, words):
    with pytest.raises(OctathlonError, match=f"systems.odd.{words}"):
        load({"systems": {"odd": facts}})


def test_overlay_takes_a_system_out_but_not_the_last_one():
    assert list(load({"systems": {"local": None, "box": {}}}).keys.systems) == ["box"]
    with pytest.raises(OctathlonError, match="systems: "):
        load({"systems": {"local": None}})


def test_division_is_the_scales_own_unless_named():
    assert load({}).division == "open"
    full = {"scale": "full"}
    assert load(full).division == "closed"
    opened = load(full | {"division": "open"})
    assert {settings.division for settings in opened.benchmarks.values()} == {"open"}
    assert load(full | {"overrides": {"resnet": {"division": "open"}}}).division == "open"


def test_mini_is_never_closed():
    with pytest.raises(OctathlonError, match="division: closed demands the round's own values"):
        load({"division": "closed"})
