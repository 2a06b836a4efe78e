"""Every command and every step of every preparation without what it needs: one sentence that names the place."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from octathlon import registry
from octathlon.cli import LEAST_MEMORY, octathlon
from octathlon.config import resolve
from octathlon.errors import OctathlonError, told, unwritable
from octathlon.receipts import publish

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import closed_log, write_log

TINY = yaml.safe_load((Path(__file__).parents[1] / "workflow/tiny.yaml").read_text())["datasets"]
TRAINED = {"R-50.pkl", "resnet34-333f7ec4.pth"}
"""Miniatures that take too long to draw: without them, their steps only miss them."""
COMPILED = {"wikipedia", "click_logs"}
"""Data sets whose kernels are compiled when they are first used, and kept beside the code."""
DATA_SETS = registry.datasets()


def call(*words: object) -> str:
    """What a command says that fails; anything but one sentence is a failure of the test."""
    done = CliRunner().invoke(octathlon, [*map(str, words)])
    assert isinstance(done.exception, OctathlonError), f"{words}: {done.exception!r} {done.output}"
    said = str(done.exception)
    assert len(said.splitlines()) == 1
    return said


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow; EFBIG stands for ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder in which nothing can be made, not even by root."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root and subprocess.run(["chattr", "+i", folder], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this file system has no folders that root can't write to")
    try:
        yield
    finally:
        if root:
            subprocess.run(["chattr", "-i", folder], check=True)
        folder.chmod(0o755)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def finished(folder: Path) -> set[Path]:
    """What says that a step was done, and what no step may leave."""
    return {path for path in files(folder) if path.suffix == ".json" or path.name.startswith(".")}


def steps(name: str, settings: object) -> list[str]:
    """All steps in an order in which they can be run."""
    kinds = registry.preparer(name).steps(settings).values()
    return [*(step for kind in kinds for step in kind), "manifest"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_preparing(name, tmp_path):
    """The whole road of a data set, each step first without one of the things that it needs."""
    overrides = TINY.get(name, {})
    settings = resolve("datasets", name, "mini", overrides)
    own, out, empty, stop = (tmp_path / each for each in ("archives", "out", "empty", "file"))
    empty.mkdir()
    stop.touch()
    sizes = ("--settings", json.dumps(settings.miniature))
    for archive in registry.preparer(name).archives(settings):
        if archive not in TRAINED:
            draw = ("miniature", name, archive, *sizes, "--folder")
            with full_disk():
                assert f"{own / archive}: cannot write it (File too large); make room" in call(*draw, own)
            assert files(own) == set()
            assert CliRunner().invoke(octathlon, [*map(str, draw), str(tmp_path / "drawn")]).exit_code == 0
    drawn = tmp_path / "drawn"
    for number, step in enumerate(steps(name, settings)):
        words = ("prepare", name, step, "--settings", json.dumps(overrides))
        for place in (stop, stop / "below"):
            assert f"{stop}" in call(*words, "--archives", drawn, "--out", place)
        said = call(*words, "--archives", empty, "--out", tmp_path / f"{number}")
        assert str(empty) in said or str(tmp_path / f"{number}") in said, said
        assert "cannot write" not in said
        if step.startswith("backbone") or (name == "coco" and step == "manifest"):
            continue
        before = finished(out)
        if name in COMPILED:
            warm = shutil.copytree(out, tmp_path / f"warm-{number}") if out.exists() else tmp_path / "warm"
            CliRunner().invoke(octathlon, [*map(str, words), "--archives", str(drawn), "--out", str(warm)])
        with full_disk():
            said = call(*words, "--archives", drawn, "--out", out)
        assert f"{out}/" in said and ": cannot write it (" in said, said
        assert finished(out) == before
        if number == 0:
            with read_only(empty):
                said = call(*words, "--archives", drawn, "--out", empty / "new")
            assert str(empty / "new") in said and "(Operation not permitted)" in said
        done = CliRunner().invoke(octathlon, [*map(str, words), "--archives", str(drawn), "--out", str(out)])
        assert done.exit_code == 0, done.exception


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A results tree with a description, and its scores beside it."""
    tree = tmp_path / "tree"
    for number in range(1, 6):
        write_log(
            tree / f"Us/results/box/resnet/result_{number}.txt", closed_log("resnet", number, "success")
        )
    octathlon(["system", "box", "--output", f"{tree}/Us/systems/box.json"], standalone_mode=False)
    octathlon(["score", str(tree), "--json", str(tmp_path / "scores.json")], standalone_mode=False)
    return tree


WRITERS = {  # command -> its words; {} is the output
    "fetch": "fetch imagenet ILSVRC2012_devkit_t12.tar.gz --source own --folder {}",
    "system": "system box --output {}",
    "score": "score tree --csv {}",
    "check": "check tree --json {}",
    "compare": "compare --alone tree --csv {}",
    "report": "report scores.json --html {}",
    "package": "package tree --out {}",
}


@pytest.mark.parametrize("command", WRITERS)
def test_commands_that_cannot_write(command, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"archive")
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()

    def told_of(out: str) -> str:
        return call(*WRITERS[command].replace("{}", out).split())

    assert "file" in told_of("file/below")
    with read_only(tmp_path / "closed"):
        assert "closed/new" in (said := told_of("closed/new")) and "Operation not permitted" in said
    with full_disk():
        assert "new" in (said := told_of("new")) and "File too large" in said
    assert not [path for path in files(tmp_path) if "new" in path.name]


@pytest.mark.parametrize(
    "words",
    [
        *("fetch imagenet ILSVRC2012_devkit_t12.tar.gz --source missing --folder new", "score missing"),
        *("check missing", "package missing --out new", "compare missing", "report missing --html new"),
        *("prepare imagenet train-000 --archives missing --out new", "rehearse dlrm --data missing"),
        *(f"train {name} --data missing --output new" for name in registry.benchmarks()),
    ],
)
def test_commands_that_miss_their_input(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call(*words.split())
    assert "missing" in said and "cannot write" not in said
    assert files(tmp_path) == set()


@pytest.mark.parametrize("name", registry.benchmarks())
def test_training_without_data(name, tmp_path):
    needed = registry.dataset_of(name)
    output = ("--output", tmp_path / "result_0.txt")
    assert f"trains on prepared data of {needed}, not on none" in call("train", name, *output)
    assert f"{tmp_path}/manifest.json: not there" in call("train", name, "--data", tmp_path, *output)


@pytest.mark.parametrize(
    ("limit", "words", "sentence"),
    [
        (LEAST_MEMORY - 1, "prepare imagenet manifest", "the limit on memory (ulimit -v) is 511 MiB; allow"),
        (1 << 30, "train dlrm", "train dlrm: not enough memory; give it more or end other programs"),
    ],
)
def test_too_little_memory(limit, words, sentence, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"dataset": "click_logs"}))
    place = ("--data", tmp_path, "--output", tmp_path / "new")
    if words.startswith("prepare"):
        place = ("--archives", tmp_path, "--out", tmp_path / "new")
    done = subprocess.run(
        [sys.executable, "-m", "octathlon.cli", *words.split(), *place],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"octathlon: {sentence}"), done.stderr


def test_an_input_that_is_missing_is_not_said_of_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), publish(tmp_path / "out"):
        (tmp_path / "in").read_bytes()
    fault = OSError(errno.ENOENT, "No such file or directory", str(tmp_path / "in"))
    assert unwritable(tmp_path / "out", fault) is None
    assert f"{tmp_path}/in: not there; correct the path" in str(told(fault, "prepare x"))


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_a_library_that_was_cut_short_is_named(content, tmp_path):
    """As PyTorch's compiler leaves one if it is killed; what it raises later quotes the loader's words."""
    (library := tmp_path / "kernel.so").write_bytes(content)
    with pytest.raises(OSError) as caught:
        ctypes.CDLL(str(library))
    fault = RuntimeError(f"ImportError: {caught.value}")
    assert str(told(fault, "train x")) == f"{library}: cut short when it was compiled; delete it, then rerun"


def test_a_lack_of_memory_is_seen_behind_what_it_was_taken_for():
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise OctathlonError("a.zip: damaged; fetch it again") from error
    except OctathlonError as taken:
        assert str(told(taken, "prepare x")).startswith("prepare x: not enough memory; ")
    assert told(ValueError("a defect of ours"), "prepare x") is None
    assert told(OctathlonError("a sentence"), "prepare x") is None
    assert told(BrokenPipeError(errno.EPIPE, "Broken pipe"), "compare") is None


def test_a_sentence_of_a_worker_is_told_without_its_traceback(tmp_path):
    from octathlon.datasets.wikipedia.loader import open_batches
    from octathlon.nn.loading import load

    keys = [[("train.hdf5", np.arange(2))]]
    with pytest.raises(OctathlonError, match=f"^{tmp_path}/train.hdf5: cannot read the samples"):
        list(load(open_batches(tmp_path), keys, workers=1, pin_memory=False))


def test_a_run_on_a_full_disk(tmp_path):
    settings, data = resolve("benchmarks", "dlrm", "mini", {}), resolve("datasets", "click_logs", "mini", {})
    registry.synthetic("dlrm").write(tmp_path, settings, data, 1)
    log = tmp_path / "runs/result_0.txt"
    with full_disk():
        said = call("train", "dlrm", "--data", tmp_path, "--output", log)
    assert said.startswith(f"{log}: cannot write it (File too large); make room")
    assert files(log.parent) == set()


def test_output_that_nobody_has_room_for():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "octathlon.cli", "compare"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "octathlon: compare: cannot use it (No space left on device); make room or fix the folder, then rerun\n",
    )
