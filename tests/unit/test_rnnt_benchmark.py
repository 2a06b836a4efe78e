"""The contract's members of rnnt: batches over ranks, averaged weights, quality, what is logged, learning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from librispeech_archives import (
    CHAPTER,
    DEV_CHAPTER,
    HAND_MADE,
    dev_files,
    draw,
    prepare_all,
    settings,
    train_files,
    write,
)
from test_world import on_ranks

from octathlon import config
from octathlon.benchmarks.rnnt.benchmark import SpeechRecognition
from octathlon.cli import octathlon
from octathlon.contracts import Progress, Run
from octathlon.datasets.librispeech.loader import Batch, Utterances, eval_transcripts
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json
from octathlon.scoring.check import check_path

FULL = {
    "counts": {"train": 278_700, "eval": 2703},
    "pieces": 1023,
    "max_duration_s": 16.7,
    "longest": {"train": {"samples": 16_000, "tokens": 9}},
}
"""Of the upstream archives: the count after the filter is between 278,528 and 279,039. The longest are made up."""


def benchmark(
    scale: str = "mini",
    data: Path | None = None,
    rank: int = 0,
    world: int = 1,
    kind: type[SpeechRecognition] = SpeechRecognition,
    **over: Any,
) -> SpeechRecognition:
    manifest = read_json(data / "manifest.json") if data else FULL
    run = Run(seed=3, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    return kind(config.resolve("benchmarks", "rnnt", scale, over), run)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 training and 10 evaluation utterances."""
    folder = tmp_path_factory.mktemp("librispeech")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


# Data ------------------------------------------------------------------------------------------------


def rows(batches: list[Batch]) -> list[tuple[int, tuple[int, ...], tuple[float, ...]]]:
    """What was drawn for each utterance: its samples after the change of speed, its tokens, its random numbers."""
    return [
        (length, tuple(tokens[:count]), tuple(draws))
        for batch in batches
        for length, tokens, count, draws in zip(
            *(part.tolist() for part in (batch.signal.lengths, *batch[1:4])), strict=True
        )
    ]


def test_ranks_accumulation_and_workers_change_no_global_batch(prepared: Path) -> None:
    """One rank with updates of 16 against two ranks with two micro-batches of 4 each."""
    alone = benchmark(data=prepared, global_batch_size=16, gradient_accumulation_steps=2)
    options = {"global_batch_size": 16, "gradient_accumulation_steps": 2, "loader_workers": 1}
    ranks = [benchmark(data=prepared, rank=rank, world=2, **options) for rank in range(2)]
    for epoch in (1, 2):
        whole = list(alone.train_batches(epoch))
        parts = [list(each.train_batches(epoch)) for each in ranks]
        assert len(whole) == len(parts[0]) == len(parts[1]) == 8  # 72 utterances: four whole updates
        for micro_batch, first, second in zip(whole, *parts, strict=True):
            assert rows([first, second]) == rows([micro_batch])
            assert len(rows([first])) == 4


def test_an_epoch_is_the_same_alone_and_in_the_stream(prepared: Path) -> None:
    streamed = benchmark(data=prepared)
    epochs = [rows(list(streamed.train_batches(epoch))) for epoch in (1, 2, 3)]
    assert rows(list(benchmark(data=prepared).train_batches(3))) == epochs[2]
    assert sorted(epochs[0]) != sorted(epochs[1])  # speeds differ, too


def test_training_samples_are_those_of_whole_updates(prepared: Path) -> None:
    assert benchmark(data=prepared, global_batch_size=16).sample_counts().train == 64
    assert benchmark("full").sample_counts().train == 278_528
    full = benchmark("full", global_batch_size=6144, gradient_accumulation_steps=1)
    assert full.sample_counts().train == 276_480


def test_no_data_are_touched_before_training(prepared: Path, tmp_path: Path) -> None:
    """The harness builds, warms up and logs before run_start; then only the manifest may be there."""
    (tmp_path / "manifest.json").write_bytes((prepared / "manifest.json").read_bytes())
    chosen = benchmark(data=tmp_path)
    model = chosen.build_model()
    chosen.build_optimizer(model)
    chosen.hyperparameters()
    chosen.loss(model, chosen.synthetic_batch()).backward()
    with pytest.raises(OctathlonError, match="train.npy"):
        next(iter(chosen.train_batches(1)))


def tensors(batch: Batch) -> list[torch.Tensor]:
    return [*batch.signal[:2], *batch[1:4]]


def test_synthetic_batches_are_as_real_ones_and_never_shorter(prepared: Path) -> None:
    chosen = benchmark(data=prepared)
    made = chosen.synthetic_batch()
    for epoch in range(1, 11):
        for real in chosen.train_batches(epoch):
            for one, other in zip(tensors(made), tensors(real), strict=True):
                assert one.dtype == other.dtype and one.shape[1:] >= other.shape[1:]
            assert made.signal.lengths.max() >= real.signal.lengths.max()
            for batch in (made, real):
                assert list(batch.signal.host_lengths) == batch.signal.lengths.tolist()
                assert list(batch.host_token_counts) == batch.token_counts.tolist()


def test_a_batch_larger_than_the_data_is_refused(prepared: Path) -> None:
    with pytest.raises(OctathlonError, match="global_batch_size 80 is more than the 72 training utterances"):
        benchmark(data=prepared, global_batch_size=80)


# Quality ---------------------------------------------------------------------------------------------


class Oracle(SpeechRecognition):
    """Transcribes what the batch says, without its last piece where an utterance has more than three."""

    def _transcribe(self, batch: Batch) -> list[list[int]]:
        tokens = [row[:count].tolist() for row, count in zip(batch.tokens, batch.token_counts, strict=True)]
        return [each if self.perfect else [] for each in tokens]

    perfect = True


class Silent(Oracle):
    perfect = False


@pytest.mark.parametrize("size", [3, 100])
def test_word_error_rate_of_perfect_and_of_empty_transcripts(prepared: Path, size: int) -> None:
    assert benchmark(data=prepared, kind=Oracle, eval_batch_size=size).evaluate(None) == {"WER": 0}
    assert benchmark(data=prepared, kind=Silent, eval_batch_size=size).evaluate(None) == {"WER": 1}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("CAFE\u0301 THE CAF\u00c9", "caf\u00e9 the caf\u00e9"),  # an accent that combines, and one that has
        ("\ufb01ne o\ufb03ce", "fine office"),  # ligatures
        ("AND THEN\u2026 \u00bd", "and then... 1\u20442"),
        ("\uff34\uff28\uff25 \uff23\uff21\uff34", "the cat"),  # full width
        ("THE\u200bCAT", "the cat"),  # a space without width
        ("THE\u00a0\u3000  CAT \t", "the cat"),
    ],
)
def test_a_perfect_transcript_has_no_error_whatever_its_letters(
    tmp_path: Path, written: str, words: str
) -> None:
    """Both sides are what sentencepiece makes of them, as in the reference; letters are in the training, too."""
    train = train_files()
    train[f"{CHAPTER}.trans.txt"] = (
        f"7-70-0000 HE'S A CAT {written}\n7-70-0001 {written}\n7-70-0002 A HAT {written}\n".encode()
    )
    dev = dev_files() | {f"{DEV_CHAPTER}.trans.txt": f"9-90-0000 {written}\n".encode()}
    pieces = len(set(f"he's a cat a hat {words}")) + 2
    out = prepare_all(
        write(tmp_path, train, dev), tmp_path / "out", settings(**HAND_MADE | {"vocabulary": pieces})
    )
    assert eval_transcripts(out) == [words]
    assert read_json(out / "manifest.json")["counts"]["eval_words"] == len(words.split())
    assert benchmark(data=out, kind=Oracle, global_batch_size=1).evaluate(None) == {"WER": 0}


def test_a_letter_that_was_never_heard_is_unknown_on_both_sides(tmp_path: Path) -> None:
    dev = dev_files() | {f"{DEV_CHAPTER}.trans.txt": b"9-90-0000 THAT \xe6\x97\xa5 CAT\n"}
    out = prepare_all(write(tmp_path, dev=dev), tmp_path / "out", settings(**HAND_MADE))
    assert benchmark(data=out, kind=Oracle, global_batch_size=1).evaluate(None) == {"WER": 0}


def test_errors_are_summed_before_they_are_divided(prepared: Path) -> None:
    """Nothing written for the shortest utterance alone: its words over the words of all."""

    class ForgetsOne(Oracle):
        def _transcribe(self, batch: Batch) -> list[list[int]]:
            first, *others = super()._transcribe(batch)
            return [[], *others]  # the first of a batch is the shortest

    words = [len(text.split()) for text in eval_transcripts(prepared)]
    found = benchmark(data=prepared, kind=ForgetsOne, eval_batch_size=100).evaluate(None)["WER"]
    assert found in [count / sum(words) for count in words]


@pytest.mark.parametrize("world", [1, 4])
def test_every_evaluation_utterance_counts_once(prepared: Path, world: int) -> None:
    """Ten over four ranks in batches of two, each batch of the utterances that its numbers say."""
    lengths = Utterances(prepared, read_json(prepared / "manifest.json"), "eval").lengths
    numbers = []
    for rank in range(world):
        share, batches = benchmark(
            data=prepared, rank=rank, world=world, eval_batch_size=2
        )._load_evaluation()
        assert [n for batch in batches for n in batch.signal.lengths.tolist()] == lengths[share].tolist()
        numbers += share
    assert sorted(numbers) == list(range(10))


class HalfDeaf(Oracle):
    """Hears nothing of utterances with an odd number of pieces."""

    def _transcribe(self, batch: Batch) -> list[list[int]]:
        return [tokens if len(tokens) % 2 == 0 else [] for tokens in super()._transcribe(batch)]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_find_the_same_rate(prepared: Path, tmp_path: Path, world: int) -> None:
    alone = benchmark(data=prepared, kind=HalfDeaf).evaluate(None)
    assert 0 < alone["WER"] < 1

    def rate(rank: int) -> dict[str, float]:
        return dict(
            benchmark(data=prepared, rank=rank, world=world, kind=HalfDeaf, global_batch_size=6).evaluate(
                None
            )
        )

    assert on_ranks(world, tmp_path, rate) == [alone] * world


def test_an_untrained_model_is_evaluated_alike_twice(prepared: Path) -> None:
    """Dither is the only chance in it."""
    chosen = benchmark(data=prepared)
    torch.manual_seed(1)
    model = chosen.build_model()
    chosen.build_optimizer(model)
    found = []
    for _ in range(2):
        torch.manual_seed(2)
        with torch.inference_mode():
            found.append(chosen.evaluate(model)["WER"])
    assert found[0] == found[1] >= 0.9


def test_evaluations_are_not_in_bf16(prepared: Path) -> None:
    """Whatever the run's precision is."""
    seen = []

    class Noted(Oracle):
        def _transcribe(self, batch: Batch) -> list[list[int]]:
            seen.append(torch.nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1)).dtype)
            return super()._transcribe(batch)

    with torch.autocast("cpu", torch.bfloat16):
        benchmark(data=prepared, kind=Noted).evaluate(None)
    assert set(seen) == {torch.float32}


# Updates ---------------------------------------------------------------------------------------------


class Jump(torch.optim.Optimizer):
    """Sets all weights to 5, whatever the gradients."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    def step(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.data.fill_(5.0)


def test_averaged_weights_follow_from_the_initial_ones(prepared: Path) -> None:
    """After n updates: d^n of the start, the rest of the constant 5; no correction of the start."""
    chosen = benchmark(data=prepared, ema_factor=0.9)
    model = chosen.build_model()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    chosen.build_optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(4):
        chosen.update(model, Jump(model.parameters()))
    for averaged, first in zip(chosen._averaged.parameters(), start, strict=True):
        torch.testing.assert_close(averaged, 0.9**4 * first + (1 - 0.9**4) * 5)


def test_the_averaged_weights_are_evaluated(prepared: Path) -> None:
    """The latest ones are spoilt: nothing comes of it."""
    chosen = benchmark(data=prepared)
    torch.manual_seed(1)
    model = chosen.build_model()
    chosen.build_optimizer(model)
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    with torch.no_grad():
        chosen._averaged.joint_net[2].bias[-1] = 100.0  # blank only
        assert chosen.evaluate(model) == {"WER": 1}
    assert not chosen._averaged.training


def test_gradients_are_clipped_before_the_step(prepared: Path) -> None:
    chosen = benchmark(data=prepared, clip_norm=0.5)
    model = chosen.build_model()
    optimizer, _ = chosen.build_optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    chosen.update(model, optimizer)
    norm = torch.cat([parameter.grad.flatten().double() for parameter in model.parameters()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-5)


def test_every_tensor_is_decayed_and_adapted(prepared: Path) -> None:
    chosen = benchmark("full", encoder_width=8, prediction_width=8, joint_width=8)
    model = chosen.build_model()
    optimizer, _ = chosen.build_optimizer(model)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 35 and group["adapt"]
    assert (group["weight_decay"], group["eps"], group["betas"]) == (1e-3, 1e-9, (0.9, 0.999))


def test_rates_at_full_scale_are_those_of_the_schedule() -> None:
    chosen = benchmark("full", encoder_width=8, prediction_width=8, joint_width=8)
    optimizer, schedule = chosen.build_optimizer(chosen.build_model())
    rates = {step: schedule.set(Progress(train_samples=0, steps=step - 1)) for step in (1, 816, 5305)}
    assert rates == pytest.approx({1: 1.713586e-5, 816: 7e-3, 5305: 6.573e-3}, rel=1e-6)
    assert optimizer.param_groups[0]["lr"] == rates[5305]


# Closed division -------------------------------------------------------------------------------------


def test_full_scale_passes_the_closed_check(tmp_path: Path, closed_logs: Any) -> None:
    """A log of the closed division with our hyperparameters in the place of its own."""
    chosen = benchmark("full")
    counts = chosen.sample_counts()
    ours = dict(chosen.hyperparameters()) | {
        "global_batch_size": chosen.settings.global_batch_size,
        "gradient_accumulation_steps": chosen.settings.gradient_accumulation_steps,
        "train_samples": counts.train,
        "eval_samples": counts.evaluation,
    }
    theirs = closed_logs.RUNS["rnnt"][0]
    assert set(ours) == set(theirs) | {"gradient_accumulation_steps"}
    log = [
        event | {"value": ours.get(event["key"], event["value"])} for event in closed_logs.closed_log("rnnt")
    ]
    tensors = [e["metadata"]["tensor"] for e in log if e["key"] == "weights_initialization"]
    assert sorted(chosen.tensor_names(None)) == sorted(tensors)
    path = closed_logs.write_log(tmp_path / "result_0.txt", log)
    assert [finding for report in check_path(path) for finding in report.findings] == []
    for event in log:
        if event["key"] == "data_speed_perturbaton_max":
            event["value"] = 1.1
    closed_logs.write_log(path, log)
    assert [finding for report in check_path(path) for finding in report.findings] != []


def test_target_cadence_and_runs_are_the_rounds() -> None:
    settings = benchmark("full").settings
    assert (settings.runs, settings.division) == (10, "closed")
    chosen = benchmark("full")
    assert chosen.target().reached({"WER": 3155 / 54_402}) and not chosen.target().reached(
        {"WER": 3156 / 54_402}
    )
    assert list(chosen.cadence().marks()) == list(range(1, 81))
    assert benchmark("mini").target() == chosen.target()
    assert json.loads(json.dumps(dict(chosen.hyperparameters()))) == dict(chosen.hyperparameters())


# Training --------------------------------------------------------------------------------------------


def losses_of_one_batch(prepared: Path, seed: int, steps: int = 25) -> list[float]:
    """Of a transducer that hears the same eight utterances again and again."""
    torch.manual_seed(seed)
    chosen = benchmark(data=prepared)
    model = chosen.build_model()
    optimizer, _ = chosen.build_optimizer(model)
    optimizer.param_groups[0]["lr"] = 0.02
    batch = next(iter(chosen.train_batches(1)))
    losses = []
    for _ in range(steps):
        loss = chosen.loss(model, batch)
        loss.backward()
        chosen.update(model, optimizer)
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_the_transducer_learns_a_batch_and_a_run_repeats_itself(prepared: Path) -> None:
    losses = losses_of_one_batch(prepared, seed=1)
    assert losses[0] > 30 and losses[-1] < losses[0] / 2
    assert losses == losses_of_one_batch(prepared, seed=1)
    assert losses != losses_of_one_batch(prepared, seed=2)


def test_a_timed_run_writes_its_log(prepared: Path, tmp_path: Path) -> None:
    """Through the command line, two evaluations."""
    log = tmp_path / "result_0.txt"
    command = ["train", "rnnt", "--data", str(prepared), "--output", str(log), "--max-blocks", "2"]
    assert CliRunner().invoke(octathlon, command, catch_exceptions=False).exit_code == 0
    events = [json.loads(line.partition(" ")[2]) for line in log.read_text().splitlines()]
    values = {event["key"]: event["value"] for event in events}
    assert values["train_samples"] == 72 and values["eval_samples"] == 10
    assert [e["metadata"]["epoch_num"] for e in events if e["key"] == "eval_accuracy"] == [1, 2]
    assert events[-1]["key"] == "run_stop" and events[-1]["metadata"]["status"] == "aborted"


@pytest.mark.big
@pytest.mark.slow
def test_one_step_of_the_full_model() -> None:
    """Full layers, full vocabulary, utterances of the filter's limit at the slowest speed; two instead of 128."""
    chosen = benchmark("full", global_batch_size=4)
    chosen.run.manifest["longest"]["train"].update(samples=267_200, tokens=125)
    torch.manual_seed(1)
    model = chosen.build_model().train()
    optimizer, _ = chosen.build_optimizer(model)
    optimizer.param_groups[0]["lr"] = 0.007
    batch = chosen.synthetic_batch()
    assert len(batch.tokens) == 2
    loss = chosen.loss(model, batch)
    loss.backward()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    chosen.update(model, optimizer)
    paths = sum(
        np.log(445 - n) - np.log(125 - n) for n in range(125)
    )  # ways through 321 frames and 125 pieces
    assert loss.item() == pytest.approx((321 + 125) * np.log(1024) - paths, rel=0.02)  # of uniform logits
    for old, new in zip(before, model.parameters(), strict=True):
        moved = (new - old).norm() / old.norm()
        assert moved.item() == pytest.approx(0.007, rel=1e-2)  # LAMB moves each tensor by lr times its norm


@pytest.fixture
def closed_logs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The writer of synthetic logs beside the golden tests."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "golden"))
    import closed_logs

    return closed_logs
