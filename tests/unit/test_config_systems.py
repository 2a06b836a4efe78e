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
    assert System(**system).launch() == []
    assert asked_for(**system) == {"threads": 16, "mem_mb": 64_000, "runtime": 90, "nodes": 1, "gpu": 1}


def test_torchrun_is_one_task_that_starts_its_ranks_itself():
    system = {
        "processes_per_node": 8,
        "cores_per_node": 64,
        "accelerators_per_node": 8,
        "launcher": "torchrun",
    }
    assert System(**system).launch() == ["octathlon", "launch", "--ranks", "8"]
    asked = asked_for(**system)
    assert (asked["threads"], asked["gpu"]) == (64, 8)
    assert "mpi" not in asked


def test_srun_allocates_tasks_and_counts_gpus_of_all_nodes():
    system = System(
        nodes=4, processes_per_node=8, cores_per_node=64, accelerators_per_node=8, launcher="srun"
    )
    command = "srun --kill-on-bad-exit --nodes 4 --ntasks 32 --ntasks-per-node 8"
    assert system.launch() == command.split()
    asked = {name: value for name, value in system.scheduling().items() if value is not None}
    assert asked == {
        **{"threads": 8, "mem_mb": 3000, "runtime": 60, "nodes": 4, "gpu": 32},
        **{"mpi": "srun", "tasks_per_node": 8},
    }


def test_srun_with_one_task_a_node_counts_tasks():
    asked = asked_for(nodes=2, accelerators_per_node=1, launcher="srun")
    assert (asked["tasks"], asked["tasks_per_gpu"], asked["gpu"]) == (2, 1, 2)
    assert "tasks_per_node" not in asked  # the plugin refuses 1


def test_the_environment_comes_before_the_launcher_a_word_a_variable():
    system = System(nodes=2, launcher="srun", environment={"NCCL_DEBUG": "a b; c=d", "NCCL_IB_DISABLE": 1})
    start = ["env", "NCCL_DEBUG=a b; c=d", "NCCL_IB_DISABLE=1"]
    assert system.launch()[:4] == [*start, "srun"]
    assert system.one_node().launch() == start


def test_arguments_of_sbatch_mean_nothing_to_a_shell():
    extra = System(slurm_extra="--nice=100 --mail-user='me & you' --wckey=$(id);reboot").slurm_extra
    assert extra == "--nice=100 '--mail-user=me & you' '--wckey=$(id);reboot'"


def test_an_account_may_be_a_number():
    assert System(slurm_account=12345).slurm_account == "12345"


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
        ({"slurm_partition": "a b"}, "slurm_partition: 'a b' is no single word"),
        ({"constraint": ""}, "constraint: '' is no single word"),
        ({"slurm_account": "-x"}, "slurm_account: '-x' is no single word"),
        ({"qos": True}, "qos: Input should be a valid string, not True"),
        ({"slurm_extra": "--mem 5"}, r"slurm_extra: --mem \(memory\) is the workflow's to say"),
        ({"slurm_extra": "--nice=1 -p"}, r"slurm_extra: -p \(partition\) is the workflow's to say"),
        ({"slurm_extra": "--comment='x"}, "slurm_extra: .* can't be split"),
        ({"slurm_extra": " "}, "slurm_extra: ' ' are no arguments"),
        ({"environment": {"A-B": "1"}}, "environment.A-B: 'A-B' can't name an environment variable"),
        ({"environment": {"RANK": 0}}, "environment.RANK: RANK is what launchers tell each rank"),
        ({"environment": {"SLURM_PROCID": 0}}, "environment.SLURM_PROCID: .* what launchers tell"),
        ({"environment": {"A": None}}, "environment.A: Input should be a valid string, not None"),
    ],
)
def test_keys_that_do_not_fit(facts, words):
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
