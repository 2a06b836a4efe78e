"""The system description: complete by the official checker, true of this machine, completed by its owner."""

import json
import os
from pathlib import Path

import pytest
from mlperf_logging.system_desc_checker import system_desc_checker

from octathlon.errors import OctathlonError
from octathlon.scoring.describe import describe_system


def describe(accelerators=None, **overrides):
    return describe_system(
        "laptop",
        submitter="octathlon",
        division="open",
        status="research",
        nodes=2,
        accelerators=accelerators,
        overrides=overrides,
    )


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A function that puts a program of a given name and output first."""

    def install(name, script):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


CARD = "A100-SXM4-80GB, 81251 MiB, 1410 MHz"
TWO_CARDS = f"case $1 in *driver*) echo 470.42.01; echo 470.42.01;; *) echo '{CARD}'; echo '{CARD}';; esac"


def test_official_checker_accepts_it(tmp_path):
    path = tmp_path / "laptop.json"
    path.write_text(json.dumps(describe()))
    valid, name, *_ = system_desc_checker.check_system_desc(str(path), "training", "1.1.0")
    assert valid
    assert name == "laptop"


def test_every_value_is_a_string_but_the_stack():
    description = describe(host_processor_core_count=64)
    stack = description.pop("other_software_stack")
    assert len(description) == 32
    assert all(isinstance(value, str) and value for value in description.values())
    assert description["host_processor_core_count"] == "64"
    assert stack["mlperf-logging"] == "4.1.68"


def test_facts_of_this_machine():
    description = describe()
    assert description["number_of_nodes"] == "2"
    assert description["host_processor_vcpu_count"] == str(os.cpu_count())
    assert description["framework"].startswith("PyTorch 2.")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert abs(float(description["host_memory_capacity"].removesuffix(" GiB")) - memory / 2**30) <= 0.5


def test_graphics_cards_as_nvidia_smi_lists_them(tool):
    tool("nvidia-smi", TWO_CARDS)
    description = describe()
    assert description["accelerators_per_node"] == "2"
    assert description["accelerator_model_name"] == "A100-SXM4-80GB"
    assert description["accelerator_memory_capacity"] == "81251 MiB"
    assert description["other_software_stack"]["cuda_driver"] == "470.42.01"


@pytest.mark.parametrize(("used", "model"), [(0, "N/A"), (1, "A100-SXM4-80GB"), (8, "A100-SXM4-80GB")])
def test_the_owner_says_how_many_cards_a_run_uses(tool, used, model):
    tool("nvidia-smi", TWO_CARDS)
    description = describe(used)
    assert description["accelerators_per_node"] == str(used)
    assert description["accelerator_model_name"] == model


def test_on_a_node_without_cards_the_kind_is_the_owners_to_say(tool):
    tool("nvidia-smi", "echo No devices were found")
    assert describe(8)["accelerators_per_node"] == "8"
    assert describe(8)["accelerator_model_name"] == "N/A"
    assert describe(8, accelerator_model_name="H100")["accelerator_model_name"] == "H100"
    assert describe()["accelerators_per_node"] == "0"


def test_lscpu_where_it_knows_no_sockets(tool):
    """As on ARM machines without a table of their topology."""
    tool("lscpu", "echo 'Socket(s): -'; echo 'Core(s) per socket: -'; printf 'Model name: Neoverse\\377\\n'")
    description = describe()
    assert description["host_processors_per_node"] == "1"
    assert description["host_processor_core_count"] == str(os.cpu_count())
    assert description["host_processor_model_name"] == "Neoverse\N{REPLACEMENT CHARACTER}"


def test_a_field_that_is_null_is_left_to_detection():
    assert describe(framework=None)["framework"].startswith("PyTorch 2.")


def test_a_machine_without_any_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    description = describe()
    assert description["accelerators_per_node"] == "0"
    assert description["accelerator_model_name"] == "N/A"
    assert description["host_processor_core_count"] == str(os.cpu_count())


def test_an_unknown_field_is_named():
    with pytest.raises(OctathlonError, match="acelerator_frequency is no field"):
        describe(acelerator_frequency="1 GHz")
