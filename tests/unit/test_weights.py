"""Weights that runs leave: what the last evaluation used, for all eight benchmarks, and for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from octathlon import registry
from octathlon.config import resolve
from octathlon.errors import OctathlonError
from octathlon.harness.evaluation import evaluate_weights
from octathlon.harness.session import Session, run
from octathlon.harness.weights import about

SHORT = {"first": 0.01, "every": 0.01, "limit": 0.02}
"""Epochs: a few updates."""
BY_SAMPLES = {"first": 64, "every": 64, "limit": 128}


def made_up(name: str, folder: Path, **sizes: int):
    """Made-up prepared data, and the settings of a run of two short blocks on them."""
    settings = resolve("benchmarks", name, "mini", {})
    data = resolve("datasets", registry.dataset_of(name), "mini", {"synthetic": sizes})
    settings = registry.synthetic(name).write(folder, settings, data, 1)
    unit = settings.cadence.unit
    short = (
        BY_SAMPLES
        if unit == "samples"
        else {"first": 1, "every": 1, "limit": 2}
        if name == "minigo"
        else SHORT
    )
    few = {"min_selfplay_games": 8, "eval_games": 4, "readouts": 4} if name == "minigo" else {}
    cadence = settings.cadence.model_copy(update=short)
    return settings.model_copy(update={"cadence": cadence, "loader_workers": 0} | few)


def trained(name: str, settings, folder: Path):
    """Train; the log."""
    output = folder / "runs" / "result_0.txt"
    options = {"submitter": "us", "platform": "here", "status": "research", "device": "cpu", "threads": 1}
    session = Session(
        benchmark=name, scale="mini", output=output, data=folder, seed=3, max_blocks=None, **options
    )
    return run(registry.benchmark_class(name), settings, session), output


def evaluated(name: str, weights: Path, data: Path) -> dict[str, float]:
    classes = registry.benchmark_class(name), registry.benchmark_settings(name)
    return evaluate_weights(name, classes, weights, data, "cpu", 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", registry.benchmarks())
def test_weights_give_the_logged_quality_to_the_digit(name, tmp_path, capsys):
    outcome, log = trained(name, made_up(name, tmp_path), tmp_path)
    weights = log.with_suffix(".safetensors")
    assert weights.stat().st_mode == log.stat().st_mode
    said = about(weights)
    assert said["quality"] == outcome.quality and said["samples"] == outcome.samples > 0
    assert (said["benchmark"], said["scale"], said["seed"], said["ranks"]) == (name, "mini", 3, 1)
    torch.manual_seed(99)  # nothing is drawn
    assert evaluated(name, weights, tmp_path) == outcome.quality
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(name)][:1]
    assert line.count(repr(next(iter(outcome.quality.values())))) == 2


@pytest.fixture(scope="module")
def recommendation(tmp_path_factory):
    """Weights of a short run of dlrm, and its data."""
    folder = tmp_path_factory.mktemp("dlrm")
    _, log = trained("dlrm", made_up("dlrm", folder), folder)
    return log.with_suffix(".safetensors"), folder


def test_weights_of_another_benchmark_or_of_other_data_are_refused(recommendation, tmp_path):
    weights, folder = recommendation
    with pytest.raises(OctathlonError, match="weights of dlrm, not of resnet: name that one"):
        evaluated("resnet", weights, folder)
    made_up("dlrm", tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"seed": 2}))
    with pytest.raises(OctathlonError, match="its run was on other data than .*: name the prepared data set"):
        evaluated("dlrm", weights, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, about: (dict(list(tensors.items())[1:]), about),
        lambda tensors, about: ({name: each[:1] for name, each in tensors.items()}, about),
        lambda tensors, about: (tensors | {"more": torch.zeros(1)}, about),
        lambda tensors, about: (tensors, about | {"settings": about["settings"] | {"global_batch_size": -1}}),
        lambda tensors, about: (tensors, about | {"settings": about["settings"] | {"other": 1}}),
        lambda tensors, about: (tensors, about | {"seed": "many"}),
        lambda tensors, about: (tensors, {}),
    ],
    ids=["one missing", "cut", "one more", "bad setting", "unknown setting", "bad seed", "unsaid"],
)
def test_weights_that_do_not_fit_are_refused(change, recommendation, tmp_path):
    weights, folder = recommendation
    with safe_open(weights, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    tensors, said = change(tensors, dict(about(weights)))
    other = tmp_path / "result_0.safetensors"
    save_file(
        {name: each.contiguous() for name, each in tensors.items()}, other, {"octathlon": json.dumps(said)}
    )
    with pytest.raises(OctathlonError, match=str(other)):
        evaluated("dlrm", other, folder)


@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"\xff" * 64, (10).to_bytes(8, "little") + b"[" * 10]
)
def test_what_is_no_file_of_weights_is_refused(content, recommendation, tmp_path):
    path = tmp_path / "result_0.safetensors"
    path.write_bytes(content)
    with pytest.raises(OctathlonError, match=f"{path}: no weights of a run"):
        evaluated("dlrm", path, recommendation[1])


def test_weights_are_kept_only_if_wanted_and_older_ones_removed(tmp_path):
    settings = made_up("dlrm", tmp_path)
    (tmp_path / "runs").mkdir()
    older = tmp_path / "runs" / "result_0.safetensors"
    older.write_bytes(b"of an earlier run")
    _, log = trained("dlrm", settings.model_copy(update={"keep_weights": False}), tmp_path)
    assert log.exists() and not older.exists()


def test_a_run_begins_only_if_its_weights_will_have_room(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("octathlon.harness.weights.shutil.disk_usage", lambda path: usage)
    with pytest.raises(OctathlonError, match="the weights need .* make room, or set keep_weights to false"):
        trained("dlrm", made_up("dlrm", tmp_path), tmp_path)
    assert not list((tmp_path / "runs").iterdir())


def test_a_log_survives_weights_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("octathlon.harness.tensor_files.save_file", fail)
    _, log = trained("dlrm", made_up("dlrm", tmp_path), tmp_path)
    assert [path.name for path in log.parent.iterdir()] == ["result_0.txt"]
    assert "the run's weights are lost, its log is not" in capsys.readouterr().err


def test_two_ranks_keep_their_parts_of_the_embeddings(tmp_path):
    settings = made_up("dlrm", tmp_path)
    changes = json.dumps({"cadence": settings.cadence.model_dump()})
    octathlon = str(Path(sys.executable).with_name("octathlon"))
    log = tmp_path / "runs" / "result_0.txt"

    def ranks(*command: str) -> str:
        two = [octathlon, "launch", "--ranks", "2", octathlon, *command, "--data", str(tmp_path)]
        return subprocess.run(two, capture_output=True, text=True, check=True).stdout

    ranks("train", "dlrm", "--output", str(log), "--settings", changes)
    weights = log.with_suffix(".safetensors")
    assert sorted(path.name for path in log.parent.glob("*.safetensors")) == [
        "result_0.rank_1.safetensors",
        "result_0.safetensors",
    ]
    quality = about(weights)["quality"]["AUC"]
    assert (
        ranks("evaluate", "dlrm", "--weights", str(weights))
        == f"dlrm: AUC {quality!r} (its log: {quality!r})\n"
    )
    with pytest.raises(OctathlonError, match="each of 2 ranks has kept its own part: start as many ranks"):
        evaluated("dlrm", weights, tmp_path)
