"""Who may import whom. The import graph is also what decides what reruns after an edit, so it is kept thin."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from octathlon import registry
from octathlon.digest import ROOT, import_closure

BASE = {"errors", "receipts", "settings", "names"}
CONTRACTS = BASE | {"contracts"}
ARROWS = {  # area -> what its modules may reach, directly or not, beside the area itself
    "errors": set(),
    "failures": set(),
    "digest": set(),
    "names": set(),
    "options": {"names", "errors"},
    "overlays": {"errors"},
    "receipts": {"errors"},
    "settings": {"errors", "names"},
    "contracts": set(),
    "registry": {"errors"},
    "systems": {"settings", "errors", "names"},
    "config": {"registry", "systems", "settings", "errors", "names"},
    "rounds": set(),
    "archives": {"receipts", "errors", "names"},
    "formats": {"errors"},
    "miniatures": set(),
    "nn": CONTRACTS,
    "harness": CONTRACTS | {"nn", "digest"},
    "rehearsal": CONTRACTS
    | {"harness", "nn", "config", "systems", "registry", "scoring", "rounds", "options"},
    "scoring": {"rounds", "registry", "receipts", "errors", "options", "names"},
    "report": {"rehearsal", "scoring", "rounds", "registry", "receipts", "errors", "options", "names"},
    "datasets": BASE,  # what several data sets share
    "benchmarks": CONTRACTS | {"nn", "datasets", "datasets.coco"},  # what several benchmarks share
    **{f"datasets.{name}": BASE | {"datasets", "archives", "formats"} for name in registry.datasets()},
    **{
        f"benchmarks.{name}": CONTRACTS | {"nn", "datasets", f"datasets.{registry.dataset_of(name)}"}
        for name in registry.benchmarks()
    },
}
WITHOUT_TORCH = [
    "errors",
    "failures",
    "digest",
    "names",
    "options",
    "receipts",
    "settings",
    "contracts",
    "registry",
    "systems",
    "config",
]
WITHOUT_TORCH += ["archives", "formats", "miniatures", "datasets", "rounds", "scoring", "report", "cli"]
TRAINS = ["octathlon.miniatures.coco", "octathlon.miniatures.coco_backbones"]
"""They train the backbones that upstream publishes: torch is imported when they do."""


def modules() -> list[str]:
    """All modules of the package, but the empty ones of packages."""
    paths = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py")
    return [".".join(("octathlon", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths]


def area(module: str) -> str:
    """The part of the house that a module belongs to."""
    parts = module.split(".")[1:]
    inside = parts[:1] in (["datasets"], ["benchmarks"]) and len(parts) > 2
    return ".".join(parts[:2]) if inside else "".join(parts[:1])


def source(module: str) -> ast.Module:
    return ast.parse(ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text())


def is_without_torch(module: str) -> bool:
    return area(module) in WITHOUT_TORCH or module.endswith((".prepare", ".settings"))


@pytest.mark.parametrize("module", [name for name in modules() if area(name) != "cli"])
def test_a_module_reaches_only_what_its_area_may(module: str) -> None:
    reached = {area(name) for name in import_closure(module)} - {area(module), "", "benchmarks"}
    assert reached <= ARROWS[area(module)]


def test_training_reaches_no_preparation() -> None:
    """Else an edit of the preparation would rerun runs whose data did not change."""
    for name in registry.benchmarks():
        closure = import_closure(f"octathlon.benchmarks.{name}.benchmark")
        assert not {module for module in closure if module.endswith(".prepare") or area(module) == "archives"}


OPENERS = {"tarfile", "zipfile", "gzip", "zlib", "pickle", "nibabel", "json", "marshal", "shelve", "lzma"}
OPENERS |= {"scipy.io"}
"""What opens bytes of others: only the room for untrusted bytes may."""


def imports(node: ast.Module) -> set[str]:
    """The modules that are named in imports anywhere in a module."""
    found = [each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)]
    names = {alias.name for each in found if isinstance(each, ast.Import) for alias in each.names}
    return names | {each.module or "" for each in found if isinstance(each, ast.ImportFrom)}


@pytest.mark.parametrize(
    "module", [name for name in modules() if area(name).split(".")[0] in ("datasets", "archives")]
)
def test_untrusted_bytes_are_opened_in_their_room_alone(module: str) -> None:
    names = imports(source(module))
    assert not {name for name in names if {name, name.split(".")[0]} & OPENERS}
    assert "orjson.loads" not in ast.unparse(source(module))


def test_preparation_reaches_no_reader_of_its_own_output() -> None:
    for name in registry.datasets():
        assert f"octathlon.datasets.{name}.loader" not in import_closure(f"octathlon.datasets.{name}.prepare")


def torch_imports(node: ast.AST) -> Iterator[int]:
    """Lines that import torch when they run; those for type checkers alone never do."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    if any(name.split(".")[0] in ("torch", "torchvision", "torchaudio") for name in names):
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from torch_imports(child)


@pytest.mark.parametrize(
    "module",
    [name for name in modules() if is_without_torch(name) and area(name) != "cli" and name not in TRAINS],
)
def test_what_must_start_at_once_never_imports_torch(module: str) -> None:
    """Nor does anything that it reaches, not even inside a function."""
    names = [name for name in import_closure(module) if name in modules()]
    assert {name: list(torch_imports(source(name))) for name in names} == {name: [] for name in names}


def test_importing_it_all_does_not_load_torch() -> None:
    names = [name for name in modules() if is_without_torch(name)]
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(names) > 30 and result.stdout == "False\n"


BARE = {"torch", "torchvision", "torchaudio", "numpy", "numba", "PyYAML", "click"}
SMALL = {"pydantic", "pydantic_core", "annotated-types", "typing-inspection", "typing_extensions"}
SMALL |= {"orjson", "msgspec", "safetensors", "h5py", "pillow", "faster-coco-eval"}
BROUGHT = {"triton", "sympy", "mpmath", "llvmlite", "setuptools", "cuda-bindings", "cuda-pathfinder"}
BROUGHT |= {"scipy", "tqdm", "defusedxml"}  # taken where they are: by PyTorch, numba, pillow
REHEARSES = """
import sys
from importlib.metadata import packages_distributions
import octathlon.cli, octathlon.rehearsal.command
from octathlon import registry

for name in registry.benchmarks():
    registry.benchmark_class(name), registry.synthetic(name)
owners = packages_distributions()
print(*{owner for name in list(sys.modules) for owner in owners.get(name, ())}, sep="\\n")
"""


def test_a_rehearsal_needs_little() -> None:
    """It runs on an image with PyTorch and a few small wheels: no Snakemake, no mlperf-logging."""
    command = [sys.executable, "-W", "ignore", "-c", REHEARSES]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert BARE <= set(output.split()) <= BARE | SMALL | BROUGHT | {"octathlon"}


def test_miniatures_import_nothing_of_ours() -> None:
    for module in modules():
        if area(module) == "miniatures":
            assert {area(name) for name in import_closure(module)} - {""} == {"miniatures"}


def test_init_files_are_empty_and_imports_absolute() -> None:
    assert [path for path in ROOT.rglob("__init__.py") if path.read_text().strip()] == []
    folders = {path.parent for path in ROOT.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    for module in modules():
        levels = [node.level for node in ast.walk(source(module)) if isinstance(node, ast.ImportFrom)]
        assert not any(levels), module


@pytest.mark.parametrize("name", registry.datasets())
def test_a_data_set_is_complete(name: str) -> None:
    prepare, miniature = registry.preparer(name), registry.miniature(name)
    for scale in registry.SCALES:
        settings = registry.dataset_settings(name)(**registry.defaults("datasets", name, scale))
        needed = prepare.archives(settings)
        assert needed and set(needed) <= {archive["name"] for archive in registry.sources(name)["archives"]}
        if settings.source == "miniature":
            assert set(needed) <= set(miniature.archives(**settings.miniature))
        steps = [step for kind in prepare.steps(settings).values() for step in kind]
        assert steps and len(set(steps)) == len(steps) and "manifest" not in steps


TENTH = """
import json
from octathlon import registry
from octathlon.config import load
from octathlon.errors import OctathlonError

config = load({"benchmarks": ["tenth"], "overrides": {"tenth": {"width": 8}}, "runs": {"tenth": 2}})
try:
    load({"overrides": {"tnth": {}}})
except OctathlonError as error:
    complaint = str(error).splitlines()[1]
print(json.dumps({
    "benchmarks": registry.benchmarks(),
    "datasets": registry.datasets(),
    "chosen": list(config.benchmarks),
    "needed": list(config.datasets),
    "runs": config.runs("tenth"),
    "width": config.benchmarks["tenth"].width,
    "class": registry.benchmark_class("tenth").__module__,
    "archives": registry.miniature("pictures").archives(),
    "complaint": complaint.strip(),
}))
"""


def test_a_tenth_benchmark_is_found_without_editing_a_file(tmp_path: Path) -> None:
    """Two folders and a module are added to a copy of the package: a benchmark, its data, their miniature."""
    package = shutil.copytree(ROOT, tmp_path / "octathlon", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(package / "benchmarks" / "resnet", package / "benchmarks" / "tenth")
    shutil.copytree(package / "datasets" / "imagenet", package / "datasets" / "pictures")
    shutil.copy(package / "miniatures" / "imagenet.py", package / "miniatures" / "pictures.py")
    for path in (*package.glob("benchmarks/tenth/*.py"), *package.glob("datasets/pictures/*.py")):
        renamed = path.read_text().replace("benchmarks.resnet", "benchmarks.tenth")
        path.write_text(
            renamed.replace("datasets.imagenet", "datasets.pictures").replace('"imagenet"', '"pictures"')
        )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", TENTH]
    output = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(output) == {
        "benchmarks": sorted([*registry.benchmarks(), "tenth"]),
        "datasets": sorted([*registry.datasets(), "pictures"]),
        "chosen": ["tenth"],
        "needed": ["pictures"],
        "runs": 2,
        "width": 8,
        "class": "octathlon.benchmarks.tenth.benchmark",
        "archives": registry.miniature("imagenet").archives(),
        "complaint": "overrides.tnth: unknown name; did you mean tenth?",
    }
