"""Rehearsals of all eight benchmarks, at mini scale and for real; and what is forecast from them."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import weakref
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_world import on_ranks
from toy_benchmark import DEFAULTS, Toy

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Run
from octathlon.errors import OctathlonError
from octathlon.harness.rehearsal import rehearse
from octathlon.receipts import read_json
from octathlon.rehearsal.forecast import System, forecast
from octathlon.rehearsal.table import WAITS, needless_waits
from octathlon.settings import BenchmarkSettings

CPU = torch.device("cpu")


def written(name: str, scale: str, folder: Path, share: float = 1):
    """The settings to rehearse with, and the manifest of the made-up data."""
    settings = resolve("benchmarks", name, scale, {})
    data = resolve("datasets", registry.dataset_of(name), scale, {})
    settings = registry.synthetic(name).write(folder, settings, data, share)
    return settings, read_json(folder / "manifest.json")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", registry.benchmarks())
def test_a_rehearsal_measures_every_benchmark(name, tmp_path):
    settings, manifest = written(name, "mini", tmp_path)
    run = Run(seed=1, device=CPU, data=tmp_path, manifest=manifest)
    facts = rehearse(registry.benchmark_class(name), settings, run, seconds=0.1, turn=nullcontext())
    training = facts["training"]
    assert facts["local_batch"] == facts["wanted_local_batch"] == settings.global_batch_size
    assert training["updates"] >= 3 and training["p95_s"] >= training["median_s"] > 0
    assert training["samples_per_s"] == pytest.approx(settings.global_batch_size / training["median_s"])
    assert sum(training["shares"].values()) == pytest.approx(1)
    assert {"forward", "loss", "backward", "optimizer"} <= set(training["shares"])
    waits = WAITS.get(name, 0) - (name == "maskrcnn")  # whose suppression is another one on a CPU
    assert sum(training["synchronisations"].values()) == waits, training["synchronisations"]
    assert 0 < training["share_of_gemm"] < 1
    slowest = training["kernels"]["slowest"]
    assert slowest[0]["s"] == max(each["s"] for each in slowest) > 0
    assert sum(each["s"] for each in slowest) <= training["kernels"]["busy_s"] * 1.001
    assert training["host_bytes"] > 1e8
    assert facts["loader"]["samples_per_s"] > 0
    if name == "minigo":
        assert facts["evaluation"] is None  # it is off the clock
        positions = settings.window * 128 * 39  # of each game
        assert facts["epoch"]["samples"] == pytest.approx(positions * settings.position_share)
        moves, rate = 128 * 39, facts["epoch"]["positions_per_s"]
        assert facts["epoch"]["seconds"] == pytest.approx(moves * settings.readouts / rate)
    else:
        assert facts["evaluation"]["samples"] == facts["samples"]["evaluation"]


class Wide(Toy):
    """A step of N samples is N products of 1 by 50 and 50 by 7, forward; backward, the weight's gradient alone."""

    limit = 64

    def build_model(self):
        return torch.nn.Linear(50, 7, bias=False)

    def loss(self, model, batch):
        if len(batch) > self.limit:
            raise torch.OutOfMemoryError("no more memory")
        return model(torch.ones(len(batch), 50)).sum()

    def synthetic_batch(self):
        return torch.zeros(self.settings.local_batch_size(self.run.world), 1)

    def evaluate(self, model):
        return {"error": 0.0}


def wide(limit: int = 64, **changes):
    settings = BenchmarkSettings(**(DEFAULTS | changes))
    return rehearse(
        type("Limited", (Wide,), {"limit": limit}),
        settings,
        Run(seed=1, device=CPU),
        seconds=0.05,
        turn=nullcontext(),
    )


def test_flops_are_those_of_the_products():
    assert wide()["training"]["flops"] == 2 * (2 * 8 * 50 * 7)


def test_an_update_is_a_whole_global_batch():
    assert wide(gradient_accumulation_steps=4)["training"]["flops"] == 2 * (2 * 8 * 50 * 7)


@pytest.mark.parametrize(("batch", "fits"), [(16, 2), (14, 3), (7, 3)])
def test_too_little_memory_gives_the_batch_that_fits(batch, fits):
    facts = wide(limit=3, global_batch_size=batch)
    assert (facts["wanted_local_batch"], facts["local_batch"]) == (batch, fits)
    assert facts["training"]["flops"] == 2 * (2 * fits * 50 * 7)


def test_what_did_not_fit_is_gone_before_less_is_tried():
    tried = []

    class Noted(Wide):
        limit = 3

        def build_model(self):
            assert not any(each() for each in tried)
            tried.append(weakref.ref(self))
            return super().build_model()

    settings = BenchmarkSettings(**(DEFAULTS | {"global_batch_size": 16}))
    rehearse(Noted, settings, Run(seed=1, device=CPU), seconds=0.05, turn=nullcontext())
    assert len(tried) == 4  # with 16, 8, 4 and 2


class ShortSecondRank(Wide):
    def loss(self, model, batch):
        self.limit = 3 if self.run.rank else 64
        return super().loss(model, batch)


class SecondRankWithoutRoomForItsOptimizer(Wide):
    def update(self, model, optimizer):
        if self.run.rank and self.settings.global_batch_size > 4:
            raise torch.OutOfMemoryError("no more memory")
        super().update(model, optimizer)


def _on_two(kind: type[Wide], rank: int):
    settings = BenchmarkSettings(**(DEFAULTS | {"global_batch_size": 8}))
    run = Run(seed=1, device=CPU, rank=rank, world=2)
    return rehearse(kind, settings, run, seconds=0.05, turn=nullcontext())


def _fits(kind: type[Wide], rank: int) -> tuple[int, int]:
    facts = _on_two(kind, rank)
    return facts["wanted_local_batch"], facts["local_batch"]


@pytest.mark.parametrize("kind", [ShortSecondRank, SecondRankWithoutRoomForItsOptimizer])
def test_all_ranks_rehearse_with_what_fits_on_each(kind, tmp_path):
    assert on_ranks(2, tmp_path, partial(_fits, kind), start="spawn") == [(4, 2)] * 2


class RefusesOnSecondRank(Wide):
    def build_model(self):
        if self.run.rank:
            raise OctathlonError("too little of something")
        return super().build_model()


def _refusal(rank: int) -> str:
    with pytest.raises(OctathlonError) as caught:
        _on_two(RefusesOnSecondRank, rank)
    return str(caught.value)


def test_what_one_rank_refuses_all_refuse(tmp_path):
    assert on_ranks(2, tmp_path, _refusal, start="spawn") == ["too little of something"] * 2


def test_a_sample_that_does_not_fit_is_said_in_a_sentence():
    with pytest.raises(OctathlonError, match="one sample needs more memory than cpu has"):
        wide(limit=0)


def _self_play(folder: Path, rank: int) -> dict[str, float]:
    settings = resolve("benchmarks", "minigo", "mini", {"min_selfplay_games": 1})
    run = Run(
        seed=1, device=CPU, rank=rank, world=2, data=folder, manifest=read_json(folder / "manifest.json")
    )
    facts = rehearse(registry.benchmark_class("minigo"), settings, run, seconds=0.1, turn=nullcontext())
    return facts["epoch"]


def test_more_ranks_than_games_rehearse_too(tmp_path):
    """The first rank has no game to learn from, and none to play."""
    sizes = {"games": 1, "kept_games": 1, "positions_per_game": 400}
    data = resolve("datasets", "minigo_models", "mini", {"synthetic": sizes})
    settings = registry.synthetic("minigo").write(
        tmp_path, resolve("benchmarks", "minigo", "mini", {}), data, 1
    )
    first, second = on_ranks(2, tmp_path, partial(_self_play, tmp_path), start="spawn")
    assert first == second
    assert first["samples"] == settings.window * 400 * settings.position_share
    assert first["seconds"] == pytest.approx(400 * settings.readouts / first["positions_per_s"])


def test_made_up_utterances_are_as_long_as_real_ones(tmp_path):
    _, manifest = written("rnnt", "full", tmp_path)
    seconds = np.load(tmp_path / "train.npy")["samples"] / 16000
    assert seconds.mean() == pytest.approx(12.3, abs=0.2)  # of LibriSpeech's 960 hours
    assert seconds.max() <= manifest["max_duration_s"] and (np.diff(seconds) >= 0).all()
    assert len(seconds) == 278528 and manifest["pieces"] == 1023


def test_made_up_text_is_as_long_as_real_text(tmp_path):
    from octathlon.datasets.wikipedia.shards import read_shard

    written("bert", "full", tmp_path)
    samples = read_shard(tmp_path / "train-0.hdf5")
    lengths = samples.fields["input_ids"].lengths
    assert lengths.mean() == pytest.approx(250, rel=0.1) and lengths.max() == 512
    assert samples.fields["masked_lm_positions"].lengths.max() == 76


def test_a_part_of_a_system_has_its_part_of_the_embeddings(tmp_path):
    _, manifest = written("dlrm", "full", tmp_path, share=1 / 8)
    assert sum(manifest["table_sizes"]) == pytest.approx(187_767_399 / 8, rel=1e-4)
    rows = np.fromfile(tmp_path / "rows.bin", "<i4").reshape(-1, 40)
    assert (rows[:, 14:] < manifest["table_sizes"]).all() and (rows >= 0).all()


# What 8 A100 did in v1.1: samples per second of each, and seconds of a run and of its evaluations (their median).
A100 = {
    "resnet": (3293, 1749, 16),
    "ssd": (1528, 496, 15),
    "maskrcnn": (75.1, 2770, 249),
    "unet3d": (34.9, 1494, 195),
    "rnnt": (966, 2035, 23),
    "dlrm": (4.60e6, 103, 8),
}
EVALUATIONS = {"resnet": 9, "ssd": 10, "maskrcnn": 14, "unet3d": 58, "rnnt": 56, "dlrm": 18}


def measured(rate: float, batch: int, evaluation: dict | None, **facts):
    seconds = batch / (8 * rate)
    training = {"median_s": seconds, "samples_per_s": 8 * rate, "shares": {}, "kernels": {"busy_s": seconds}}
    facts = {"wanted_local_batch": 1, "local_batch": 1, "epoch": {}} | facts
    return {"training": training, "evaluation": evaluation, "loader": {"samples_per_s": 1e12}, **facts}


def evaluated(seconds: float, samples: int, first_s: float = 0.0):
    return {"seconds": seconds, "samples": samples, "first_s": first_s}


@pytest.mark.parametrize("name", A100)
def test_published_rates_give_published_times(name):
    rate, seconds, evaluating = A100[name]
    settings = resolve("benchmarks", name, "full", {})
    sizes = resolve("datasets", registry.dataset_of(name), "full", {}).synthetic
    evaluation = evaluated(evaluating / EVALUATIONS[name], sizes["eval"])
    told = forecast(
        name,
        settings,
        measured(rate, settings.global_batch_size, evaluation),
        {"train": sizes["train"], "evaluation": sizes["eval"]},
        System(accelerators=8, rehearsed=8),
    )
    assert told["run_s"] == pytest.approx(seconds, rel=0.1)
    assert told["all_runs_s"] == pytest.approx(settings.runs * told["run_s"])
    assert told["published"]["best_s"] <= seconds * 1.05


def test_a_first_evaluation_that_takes_longer_does_so_once_whatever_the_size():
    settings = resolve("benchmarks", "resnet", "full", {})
    samples, system = {"train": 1281167, "evaluation": 50000}, System(accelerators=8, rehearsed=1)
    for first_s, longer in ((3.0, 0.0), (4.0, 0.0), (10.0, 6.0)):
        facts = measured(3000, 3264, evaluated(4.0, 3125, first_s))
        told = forecast("resnet", settings, facts, samples, system)
        assert told["evaluation_s"] == pytest.approx(longer + told["evaluations"] * 8.0)


def test_self_play_that_takes_as_long_as_nvidias_gives_its_time():
    settings = resolve("benchmarks", "minigo", "full", {})
    epoch = {"samples": 5 * 8192 * 50 * 0.3, "seconds": 2 * 384.0}
    facts = measured(32774, 4096, None, epoch=epoch)
    system = System(accelerators=8, rehearsed=4)  # which take twice as long as all
    told = forecast("minigo", settings, facts, {"train": 8192, "evaluation": 256}, system)
    assert told["run_s"] == pytest.approx(264.9 * 60, rel=0.03)
    assert (told["updates"], told["evaluations"]) == (41.8 * 150, 0)
    assert told["limited_by"] == "self-play"


def test_half_the_memory_takes_twice_as_long_and_is_what_limits():
    settings = resolve("benchmarks", "resnet", "full", {})
    samples, system = {"train": 1281167, "evaluation": 50000}, System(accelerators=8, rehearsed=8)
    evaluation = evaluated(0.0, 1)
    whole = forecast("resnet", settings, measured(3000, 3264, evaluation), samples, system)
    half = measured(3000, 3264, evaluation, wanted_local_batch=408, local_batch=204)
    halved = forecast("resnet", settings, half, samples, system)
    assert halved["run_s"] == pytest.approx(2 * whole["run_s"])
    assert (whole["limited_by"], halved["limited_by"]) == ("kernels", "memory")


def test_what_limits_is_named():
    settings = resolve("benchmarks", "resnet", "full", {})
    facts = measured(3000, 3264, evaluated(1.0, 50000))
    samples = {"train": 1281167, "evaluation": 50000}
    facts["training"]["kernels"] = {"busy_s": 0.5 * facts["training"]["median_s"]}
    told = forecast("resnet", settings, facts, samples, System(accelerators=8, rehearsed=8))
    assert told["limited_by"] == "launches"
    facts["training"]["shares"]["exchange"] = 0.3
    told = forecast("resnet", settings, facts, samples, System(accelerators=8, rehearsed=8))
    assert told["limited_by"] == "exchange"
    facts["loader"] = {"samples_per_s": 2.9}
    told = forecast("resnet", settings, facts, samples, System(accelerators=8, rehearsed=8))
    assert (told["limited_by"], told["workers"]) == ("loader", 1035)


def test_an_update_that_waits_more_often_than_it_must_is_told():
    def told(name: str, **places: int) -> str | None:
        return needless_waits(name, {"training": {"synchronisations": places}})

    assert told("resnet") is None and told("maskrcnn", nonzero=1, item=1) is None
    assert told("resnet", item=1) == "resnet: an update waits for the device 1 times, not 0: at item (1)"
    thrice = "maskrcnn: an update waits for the device 3 times, not 2: at nonzero (1), item (2)"
    assert told("maskrcnn", nonzero=1, item=2) == thrice


def octathlon(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("octathlon"))
    return subprocess.run([*launcher, program, *arguments], capture_output=True, text=True, check=False)


def test_two_ranks_rehearse_for_four_accelerators(tmp_path):
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    launcher = (torchrun, "--standalone", "--nproc-per-node", "2", "--no-python")
    output = tmp_path / "dlrm.json"
    options = ("--seconds", "1", "--accelerators", "4", "--json", str(output))
    done = octathlon("rehearse", "dlrm", *options, launcher=launcher)
    assert done.returncode == 0, done.stderr
    content = json.loads(output.read_text())
    facts = content["benchmarks"]["dlrm"]
    assert content["machine"]["ranks"] == 2 and content["machine"]["accelerators"] == 4
    assert facts["local_batch"] == facts["global_batch"] // 4
    assert facts["samples"]["evaluation"] == 2 * 8192  # for each
    assert 0 <= facts["training"]["shares"]["exchange"] < 1
    assert done.stdout.count("| dlrm |") == 1


SHORT = """
import torch
from octathlon.benchmarks.dlrm import benchmark
from octathlon.cli import main

class Short(benchmark.BENCHMARK):
    calls = 0
    def {method}(self, *arguments):
        self.calls += 1
        if self.run.rank == 1 and self.calls == {call}:
            raise torch.OutOfMemoryError("no more memory")
        return super().{method}(*arguments)

benchmark.BENCHMARK = Short
main()
"""


@pytest.mark.parametrize(("method", "call"), [("loss", 5), ("evaluate", 1)])
def test_a_rank_that_is_out_of_memory_while_others_wait_for_it_ends_them(method, call, tmp_path):
    """The others' message is that of gloo's lost connection; of NCCL's the launcher would end them."""
    script = tmp_path / "short.py"
    script.write_text(SHORT.format(method=method, call=call))
    program = str(Path(sys.executable).with_name("octathlon"))
    command = [
        program,
        "launch",
        "--ranks",
        "2",
        sys.executable,
        script,
        "rehearse",
        "dlrm",
        "--seconds",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "octathlon: rank 1, for which the others wait: out of memory; rehearse with a smaller" in done.stderr
    )
    assert "octathlon: rank 0 lost its connection to the others" in done.stderr


def test_prepared_data_may_be_rehearsed_on(tmp_path):
    _, manifest = written("dlrm", "mini", tmp_path)
    manifest["counts"]["train"] -= 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    output = tmp_path / "dlrm.json"
    done = octathlon("rehearse", "dlrm", "--data", str(tmp_path), "--seconds", "1", "--json", str(output))
    assert done.returncode == 0, done.stderr
    facts = json.loads(output.read_text())["benchmarks"]["dlrm"]
    assert facts["samples"] == {
        "train": manifest["counts"]["train"],
        "evaluation": manifest["counts"]["eval"],
    }


def test_what_cannot_be_rehearsed_is_a_result_beside_the_others(tmp_path):
    output = tmp_path / "new" / "facts.json"
    options = ("--accelerators", "64", "--seconds", "1", "--json", str(output))
    done = octathlon("rehearse", "resnet", "dlrm", *options)
    assert (done.returncode, done.stderr) == (0, "resnet: 1 of 2\ndlrm: 2 of 2\n")
    rows, reason = done.stdout.strip().split("\n\n")
    assert "| dlrm |" in rows
    assert reason.startswith("resnet: global_batch_size 32 does not divide into 64 ranks")
    facts = json.loads(output.read_text())["benchmarks"]
    assert reason == f"resnet: {facts['resnet']['error']}" and facts["dlrm"]["training"]["updates"] >= 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dlrm", "resnet", "--data", "."), "--data: name the one benchmark that trains on them"),
        (("resnet", "dlrm", "--settings", '{"learning": 1}'), "resnet.learning: unknown key"),
        (("resnet", "chess"), "chess"),
    ],
)
def test_wrong_input_is_said_before_anything_is_rehearsed(arguments, said, tmp_path):
    output = tmp_path / "facts.json"
    done = octathlon("rehearse", *arguments, "--json", str(output))
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert not output.exists() and not done.stdout


def test_prepared_data_that_cannot_be_read_are_an_error(tmp_path):
    written("dlrm", "mini", tmp_path)
    (tmp_path / "rows.bin").unlink()
    done = octathlon("rehearse", "dlrm", "--data", str(tmp_path), "--seconds", "1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("octathlon: ") and "rows.bin" in done.stderr


def test_more_ranks_than_accelerators_are_an_error(monkeypatch, tmp_path):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    done = octathlon("rehearse", "dlrm", "--accelerators", "1")
    assert done.returncode == 1
    assert "--accelerators 1: 2 ranks rehearse" in done.stderr


SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu/rehearse.py"


def all_on_one_device(output: Path, *arguments: str) -> list[str]:
    options = [
        "--device",
        "cpu",
        "--scale",
        "mini",
        "--accelerators",
        "1",
        "--seconds",
        "1",
        "--output",
        output,
    ]
    command = [sys.executable, SCRIPT, *options, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_one_script_rehearses_with_the_settings_and_with_others(tmp_path):
    lines = all_on_one_device(tmp_path / "found.json", "ssd")
    first, other = json.loads((tmp_path / "found.json").read_text())
    assert {str(first["settings"]), str(other["settings"])} == {"{}", "{'compile': 'none'}"}
    for found, said in zip((first, other), lines, strict=True):
        facts = found["benchmarks"]["ssd"]
        assert (
            said.startswith(f"ssd {found['settings'] or ''} (") and f"batch {facts['local_batch']}," in said
        )
        assert facts["evaluation"]["seconds"] > 0 and 0 < facts["ready_s"] < found["ended_s"]


def test_the_script_knows_which_updates_wait():
    waits = runpy.run_path(str(SCRIPT))["waits"]
    slow = {"training": {"synchronisations": {"item": 2}}}
    found = [
        {"settings": {}, "benchmarks": {"bert": {"training": {"synchronisations": {}}}}},
        {"settings": {"compile": "none"}, "benchmarks": {"ssd": slow}},
        {"settings": {}, "benchmarks": {"ssd": {"error": "out of memory"}}},
        {"settings": {}, "error": "time ran out"},
    ]
    assert list(waits(found)) == [
        "ssd: an update waits for the device 2 times, not 0: at item (2) {'compile': 'none'}"
    ]


def test_the_script_ends_in_time_and_says_what_was_not_measured(tmp_path):
    all_on_one_device(tmp_path / "found.json", "--minutes", "0", "ssd", "dlrm", "resnet")
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["error"] for each in found] == ["time ran out"] * 7
