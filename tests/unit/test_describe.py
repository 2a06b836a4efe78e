"""The system description: complete by the official checker, true of this machine, completed by its owner."""

import json
import os
from pathlib import Path

import pytest
from mlperf_logging.system_desc_checker import system_desc_checker

from octathlon.errors import OctathlonError
from octathlon.scoring.describe import describe_system


def describe(**overrides):
    return describe_system(
        "laptop", submitter="octathlon", division="open", status="research", nodes=2, overrides=overrides
    )


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


def test_graphics_cards_as_nvidia_smi_lists_them(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\ncase $1 in *driver*) echo 470.42.01; echo 470.42.01;;\n"
        "*) echo 'A100-SXM4-80GB, 81251 MiB, 1410 MHz'; echo 'A100-SXM4-80GB, 81251 MiB, 1410 MHz';; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    description = describe()
    assert description["accelerators_per_node"] == "2"
    assert description["accelerator_model_name"] == "A100-SXM4-80GB"
    assert description["accelerator_memory_capacity"] == "81251 MiB"
    assert description["other_software_stack"]["cuda_driver"] == "470.42.01"


def test_a_machine_without_any_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    description = describe()
    assert description["accelerators_per_node"] == "0"
    assert description["accelerator_model_name"] == "N/A"
    assert description["host_processor_core_count"] == str(os.cpu_count())


def test_an_unknown_field_is_named():
    with pytest.raises(OctathlonError, match="acelerator_frequency is no field"):
        describe(acelerator_frequency="1 GHz")
