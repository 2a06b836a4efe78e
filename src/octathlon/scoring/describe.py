"""The system description of a submission: what its owner says, completed by what this machine shows.

Every published result names its system in `<org>/systems/<system>.json`: 33 fields, all strings but the
software stack (mlperf_logging's system_desc_checker lists them). Nothing is guessed: what nobody says and this
module cannot see is N/A. A run may use fewer accelerators than its node has, and another node than this one may
have them: how many there are is the owner's to say.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.scoring import rule_data

NOT_KNOWN = "N/A"
STACK = ("torchvision", "torchaudio", "numpy", "snakemake", "mlperf-logging")


def describe_system(
    name: str,
    *,
    submitter: str,
    division: str,
    status: str,
    nodes: int,
    accelerators: int | None = None,
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """This machine as the system `name`, with the fields of `overrides` laid over what was detected.

    Args:
        name: the folder name of the system in the submission tree.
        nodes: how many machines like this one the system has.
        accelerators: how many of each node a run uses; None: all that this machine has.
        overrides: field -> value; numbers become strings, as the format wants, and None leaves a field to detection.

    Raises:
        OctathlonError: if `overrides` has a field that no system description has.
    """
    check_fields(name, overrides)
    given = {"submitter": submitter, "division": division, "status": status, "system_name": name}
    found = given | {"number_of_nodes": str(nodes)} | host() | graphics_cards(accelerators) | software()
    chosen = {field: _text(value) for field, value in overrides.items() if value is not None}
    return dict.fromkeys(_fields()["required"], NOT_KNOWN) | found | chosen


def check_fields(name: str, overrides: Mapping[str, Any]) -> None:
    """Raise an OctathlonError if `overrides` has a field that no system description has."""
    known = [*_fields()["required"], *_fields()["optional"]]
    if unknown := sorted(set(overrides) - set(known)):
        raise OctathlonError(
            f"description of system {name}: {', '.join(unknown)} is no field of a system description; "
            f"the fields are {', '.join(known)}"
        )


def _fields() -> dict[str, list[str]]:
    return rule_data.load("system_description_v1.1")


def host() -> dict[str, str]:
    """Processors, memory and storage of this machine."""
    processor = _lscpu()
    threads = os.cpu_count() or 1
    sockets = _number(processor.get("Socket(s)"), 1)
    cores = sockets * _number(processor.get("Core(s) per socket"), threads)
    sizes = {level: processor.get(f"{level} cache") for level in ("L1d", "L1i", "L2", "L3")}
    caches = ", ".join(f"{level} {size}" for level, size in sizes.items() if size)
    frequency = processor.get("CPU max MHz")
    return {
        "host_processors_per_node": str(sockets),
        "host_processor_model_name": processor.get("Model name") or platform.machine(),
        "host_processor_core_count": str(cores),
        "host_processor_vcpu_count": str(threads),
        "host_processor_frequency": f"{float(frequency):.0f} MHz" if frequency else NOT_KNOWN,
        "host_processor_caches": caches or NOT_KNOWN,
        "host_memory_capacity": _gibibytes(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        "host_storage_capacity": _gibibytes(shutil.disk_usage(os.curdir).total),
    }


def graphics_cards(used: int | None) -> dict[str, str]:
    """The `used` accelerators of a node (None: all), of the kind that nvidia-smi lists here, if it does."""
    if used == 0:
        return {"accelerators_per_node": "0"}
    query = "name,memory.total,clocks.max.sm"
    lines = _output("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader").splitlines()
    cards = [facts for line in lines if len(facts := [part.strip() for part in line.split(",")]) == 3]
    count = {"accelerators_per_node": str(len(cards) if used is None else used)}
    if not cards:
        return count
    model, memory, clock = cards[0]
    return count | {
        "accelerator_model_name": model,
        "accelerator_memory_capacity": memory,
        "accelerator_frequency": clock,
    }


def software() -> dict[str, Any]:
    """Operating system, framework and the rest of the stack, from package metadata: nothing is imported."""
    stack = {package: found for package in STACK if (found := _version(package))}
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    if driver:
        stack["cuda_driver"] = driver[0].strip()
    return {
        "framework": f"PyTorch {_version('torch') or NOT_KNOWN}",
        "other_software_stack": {"python": platform.python_version()} | stack,
        "operating_system": _operating_system(),
    }


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):  # not a Linux
        return platform.platform()


def _lscpu() -> dict[str, str]:
    rows = (line.partition(":") for line in _output("lscpu").splitlines())
    return {field.strip(): value.strip() for field, _, value in rows}


def _number(text: str | None, otherwise: int) -> int:
    """A count of lscpu's, which writes `-` for what it does not know (on some ARM machines)."""
    return int(text) if text and text.isdecimal() else otherwise


def _output(*command: str) -> str:
    """What a command prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=True,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.0f} GiB"


def _text(value: Any) -> Any:
    return value if isinstance(value, str | dict | list) else str(value)
