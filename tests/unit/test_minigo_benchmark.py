"""The contract's members for minigo: network, loss, schedule, window, logs, and a step at full size."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from minigo_data import draw_archives, prepare_all, with_momentum
from torch import nn

from octathlon import config
from octathlon.benchmarks.minigo.benchmark import SelfPlay
from octathlon.benchmarks.minigo.kernels import compile_kernels
from octathlon.benchmarks.minigo.match import Played
from octathlon.benchmarks.minigo.network import DualNetwork, folded
from octathlon.benchmarks.minigo.players import SelfPlayers, new_network, player
from octathlon.benchmarks.minigo.rules import geometry
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.benchmarks.minigo.sgf import collection
from octathlon.benchmarks.minigo.window import Window, batches, turned
from octathlon.contracts import Progress, Run
from octathlon.datasets.minigo_models.rows import pack, unpack_planes
from octathlon.errors import OctathlonError
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json
from octathlon.scoring.check import check_path

CPU = torch.device("cpu")
TINY = {
    "min_selfplay_games": 4,
    "eval_games": 4,
    "readouts": 4,
    "fast_readouts": 4,
    "eval_readouts": 4,
    "target_readouts": 4,
    "global_batch_size": 8,
    "cadence": {"first": 1, "limit": 2},
}


def settings(scale: str = "mini", **over):
    return config.resolve("benchmarks", "minigo", scale, over)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return prepare_all(
        draw_archives(tmp_path_factory.mktemp("archives"), games=8), tmp_path_factory.mktemp("prepared")
    )


@pytest.fixture(scope="module")
def full_data(tmp_path_factory) -> Path:
    archives = draw_archives(tmp_path_factory.mktemp("archives"), "full", games=1)
    return prepare_all(archives, tmp_path_factory.mktemp("prepared"), "full")


def benchmark(folder: Path, scale: str = "mini", log: Path | None = None, seed: int = 1, **over) -> SelfPlay:
    manifest = read_json(folder / "manifest.json")
    over = {"min_selfplay_games": manifest["generations"][0]["games"], **over}
    return SelfPlay(
        settings(scale, **over), Run(seed=seed, device=CPU, data=folder, manifest=manifest, log=log)
    )


def run(chosen: SelfPlay):
    """A whole run; outcome and events."""
    output = io.StringIO()
    outcome = timed_run(chosen, Events([output], wall_clock()))
    return outcome, [json.loads(line.removeprefix(":::MLLOG ")) for line in output.getvalue().splitlines()]


# The network -----------------------------------------------------------------------------------------------


def test_parameters_of_the_full_and_the_mini_network() -> None:
    model = new_network(settings("full"))
    assert sum(each.numel() for each in model.parameters()) == 736_671
    statistics = [tensor for name, tensor in model.named_buffers() if "running" in name]
    assert sum(tensor.numel() for tensor in statistics) == 1_670
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert (len(convolutions), sum(each.weight.numel() for each in convolutions)) == (15, 450_048)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.affine]
    assert (len(norms), sum(2 * each.num_features for each in norms)) == (13, 1_664)
    assert {(each.eps, each.momentum) for each in norms} == {(1e-5, 0.05)}
    assert sum(each.numel() for each in new_network(settings()).parameters()) == 13_055


def trained(seed: int = 0) -> DualNetwork:
    """A network whose batch norms have seen something."""
    torch.manual_seed(seed)
    model = new_network(settings())
    for _ in range(20):
        model(torch.rand(16, 13, 5, 5))
    return model.eval()


def test_folded_batch_norms_change_nothing() -> None:
    model, planes = trained(), torch.rand(9, 13, 5, 5)
    with torch.inference_mode():
        for theirs, ours in zip(model(planes), folded(model)(planes), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(model).modules())


def test_averaged_over_symmetries_the_network_is_equivariant() -> None:
    go, evaluate = geometry(5), player(trained(), CPU)
    planes = np.random.default_rng(1).integers(2, size=(13, 25)).astype(np.uint8)

    def averaged(shown):
        logits, values = evaluate(
            np.stack([shown[:, source] for source in go.symmetries]).reshape(8, 13, 5, 5)
        )
        back = [row[:-1][np.argsort(source)] for row, source in zip(logits, go.symmetries, strict=True)]
        return np.mean(back, axis=0), values.mean()

    policy, value = averaged(planes)
    for source in go.symmetries:
        turned_policy, turned_value = averaged(planes[:, source])
        assert np.allclose(turned_policy, policy[source], atol=1e-5)
        assert turned_value == pytest.approx(value, abs=1e-6)


# Training --------------------------------------------------------------------------------------------------


def test_loss_is_cross_entropy_and_half_the_squared_error(data: Path) -> None:
    chosen = benchmark(data)
    policies = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    values, outcomes = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 1.0])
    loss = chosen.loss(lambda planes: (logits, values), (torch.zeros(2, 13, 1, 1), policies, outcomes))
    entropy = -(policies * logits.log_softmax(1)).sum(1).mean()
    assert loss.item() == pytest.approx(entropy.item() + 0.5 * (0.25 + 4) / 2)


def test_rates_follow_the_global_step(full_data: Path) -> None:
    chosen = benchmark(full_data, "full")
    model = new_network(settings())
    for start in (0, 5672):
        chosen.run.manifest["global_step"] = start
        optimizer, schedule = chosen.build_optimizer(model)
        rates = {
            step: schedule.set(Progress(train_samples=0, steps=step - start))
            for step in (128, 129, 10000, 10001, 20000, 20001)
            if step >= start
        }
        expected = {128: 0.016, 129: 0.16, 10000: 0.16, 10001: 0.016, 20000: 0.016, 20001: 0.0016}
        assert rates == {step: rate for step, rate in expected.items() if step >= start}
    assert schedule.set(Progress(train_samples=0)) == 0.16


def test_kernels_and_gammas_are_decayed(data: Path) -> None:
    chosen = benchmark(data)
    model = new_network(settings())
    optimizer, _ = chosen.build_optimizer(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decay = {
        names[each]: group["weight_decay"] for group in optimizer.param_groups for each in group["params"]
    }
    assert len(decay) == len(names)
    assert {name for name, value in decay.items() if value == 0} == {
        name for name in decay if name.endswith("bias")
    }
    assert optimizer.defaults["momentum"] == 0.9 and not optimizer.defaults["nesterov"]


def test_the_checkpoints_momentum_goes_on(tmp_path: Path) -> None:
    """A step is TensorFlow's: momentum * slot + gradient, times the rate, is taken off."""
    archives = draw_archives(tmp_path / "drawn", games=1)
    slots = with_momentum(archives, tmp_path / "archives")
    chosen = benchmark(prepare_all(tmp_path / "archives", tmp_path / "prepared"), weight_decay=0)
    model = chosen._load("checkpoint")
    optimizer, schedule = chosen.build_optimizer(model)
    before, gradient = model.policy.weight.detach().clone(), torch.randn(26, 50)
    model.policy.weight.grad, rate = gradient.clone(), schedule.set(Progress(train_samples=0))
    optimizer.step()
    slot = torch.from_numpy(slots["dense/kernel/Momentum"].T.copy())
    torch.testing.assert_close(model.policy.weight.detach(), before - rate * (0.9 * slot + gradient))


def marked_rows(games: int, each: int) -> np.ndarray:
    """Rows of which the policy is highest where the first plane has its only stone."""
    parts = []
    for game in range(games):
        planes, policies = np.zeros((each, 13, 25), np.uint8), np.zeros((each, 26), np.float32)
        points = np.random.default_rng(game).integers(25, size=each)
        planes[np.arange(each), 0, points], policies[np.arange(each), points] = 1, 0.75
        policies[:, 25] = 0.25
        parts.append(pack(5, planes, policies, 1 if game % 2 else -1, game))
    return np.concatenate(parts)


def test_a_turn_moves_planes_and_policy_alike_and_not_the_pass() -> None:
    rows = marked_rows(1, 200)
    for planes, policies, outcomes in batches(rows, 5, 50, np.random.default_rng(1)):
        assert (planes[:, 0].reshape(50, 25).argmax(1) == policies[:, :-1].argmax(1)).all()
        assert (policies[:, 25] == 0.25).all() and (outcomes == -1).all()
    for symmetry in geometry(5).symmetries:
        planes, _ = turned(rows, 5, np.tile(symmetry, (200, 1)).astype(np.int64))
        assert (planes.reshape(200, 13, 25) == unpack_planes(rows, 5)[:, :, symmetry]).all()


def test_the_window_draws_its_share_from_the_newest_generations() -> None:
    chosen = settings(window=3, min_selfplay_games=6, position_share=0.5)
    window = Window(chosen, 0, 2)  # three of the six games are this rank's
    for generation in range(5):
        rows = marked_rows(8, 40)
        rows["outcome"] = generation
        window.add(rows)
    drawn = window.draw(np.random.default_rng(1))
    assert set(drawn["outcome"]) == {2, 3, 4}
    for generation in (2, 3, 4):
        games = drawn[drawn["outcome"] == generation]["game"]
        assert len(np.unique(games)) == 3
        assert 35 < len(games) < 85  # half of 120
    assert (np.diff(drawn["outcome"]) != 0).any()
    again = window.draw(np.random.default_rng(1))
    assert (again == drawn).all() and len(window.draw(np.random.default_rng(2)))


def test_games_of_many_processes_are_numbered_on_and_repeat_themselves() -> None:
    chosen = settings(**TINY, selfplay_processes=2)
    players, model = SelfPlayers(chosen, CPU), trained()
    rows = players.play(model, 5, [1])
    assert np.unique(rows["game"]).tolist() == list(range(5)) and (np.diff(rows["game"]) >= 0).all()
    assert (players.play(model, 5, [1]) == rows).all()
    share = play_games(chosen, player(model, CPU), 2, [1, 0])
    assert (rows[: len(share)] == share).all()


# Runs ------------------------------------------------------------------------------------------------------


def test_a_rank_without_a_game_has_no_rows() -> None:
    rows = SelfPlayers(settings(), CPU).play(trained(), 0, [1])
    assert len(rows) == 0 and rows.dtype == marked_rows(games=1, each=1).dtype


def test_a_run_logs_generations_and_leaves_its_games(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "result_0.txt"
    _, events = run(benchmark(data, log=log, **TINY, target={"win_rate": 1.0}))
    games = [event for event in events if event["key"] == "actual_selfplay_games_per_generation"]
    assert [(event["metadata"]["epoch_num"], event["value"]) for event in games] == [
        *((1, 8), (1, 8)),
        *((2, 8), (2, 8), (2, 4)),
    ]
    evaluations = [event for event in events if event["key"] == "eval_accuracy"]
    assert [event["metadata"]["epoch_num"] for event in evaluations] == [1, 2]
    text = (tmp_path / "result_0.sgf").read_text()
    assert text.count("(;FF[4]GM[1]") == 4 and text.count("SZ[5]KM[7.5]") == 4
    wins = text.count("PB[candidate]PW[target]RE[B+]") + text.count("PB[target]PW[candidate]RE[W+]")
    assert wins / 4 == evaluations[-1]["value"]


def test_a_run_repeats_itself_for_a_seed(data: Path) -> None:
    def values(seed: int) -> tuple:
        chosen = benchmark(data, seed=seed, **TINY, target={"win_rate": 1.0})
        _, events = run(chosen)
        weights = torch.cat([parameter.flatten() for parameter in chosen._model.parameters()])
        return [event["value"] for event in events if event["key"] == "eval_accuracy"], weights.tolist()

    assert values(1) == values(1)
    assert values(1)[1] != values(2)[1]


def test_the_target_against_itself_wins_about_half(data: Path) -> None:
    chosen = benchmark(data, eval_readouts=8, target_readouts=8, eval_games=100)
    target = chosen._load("target").eval()
    assert 0.35 < chosen.evaluate(target)["win_rate"] < 0.65
    fresh = chosen._load("checkpoint").eval()
    assert chosen.evaluate(fresh)["win_rate"] < 0.2


def test_sgf() -> None:
    games = [Played(0, [12, 6, 25, 25], 1), Played(3, [0], -1)]
    assert collection(games, 5) == (
        "(;FF[4]GM[1]CA[UTF-8]AP[octathlon]SZ[5]KM[7.5]RU[Chinese]GN[0]PB[candidate]PW[target]RE[B+]\n"
        ";B[cc];W[bb];B[];W[])\n"
        "(;FF[4]GM[1]CA[UTF-8]AP[octathlon]SZ[5]KM[7.5]RU[Chinese]GN[3]PB[target]PW[candidate]RE[W+]\n;B[aa])\n"
    )
    assert [game.won for game in games] == [True, True]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"filters": 8}, "not one of 8 filters"),
        ({"board_size": 9}, "a board of 5 lines"),
        ({"min_selfplay_games": 9}, "at least 8 of each generation"),
    ],
)
def test_settings_that_do_not_fit_the_models_are_named(data: Path, over: dict, words: str) -> None:
    with pytest.raises(OctathlonError, match=words):
        benchmark(data, **(TINY | over)).build_model()


# Full scale ------------------------------------------------------------------------------------------------


def test_full_scale_passes_the_closed_check(full_data: Path, tmp_path: Path, closed_logs: Any) -> None:
    chosen = benchmark(full_data, "full")
    ours = dict(chosen.hyperparameters()) | {
        "min_selfplay_games_per_generation": settings("full").min_selfplay_games
    }
    log = closed_logs.closed_log("minigo")
    theirs = closed_logs.RUNS["minigo"][0]
    assert set(theirs) - {"actual_selfplay_games_per_generation"} <= set(ours)
    for event in log:
        if event["key"] in theirs:
            assert event["value"] == ours.get(event["key"], event["value"])
    extra = [log[6] | {"key": key, "value": value} for key, value in ours.items() if key not in theirs]
    tensors = [event["metadata"]["tensor"] for event in log if event["key"] == "weights_initialization"]
    assert sorted(chosen.tensor_names(None)) == sorted(tensors) and len(tensors) == 48
    path = closed_logs.write_log(tmp_path / "result_0.txt", [*log[:7], *extra, *log[7:]])
    assert [finding for report in check_path(path) for finding in report.findings] == []


def test_rules_of_the_full_scale() -> None:
    full = settings("full")
    assert (full.runs, full.division, full.target) == (10, "closed", {"win_rate": 0.5})
    assert (full.global_batch_size, full.window, full.position_share) == (4096, 5, 0.3)
    assert (full.readouts, full.fast_readouts, full.full_share, full.virtual_losses) == (800, 80, 0.25, 4)
    assert (full.noise_alpha, full.noise_weight, full.draw_moves) == (0.03, 0.3, 2 * (361 // 24))
    assert (full.resign_from, full.resign_holdout, full.value_init_penalty) == (-0.9, 0, 0.2)
    assert (full.eval_games, full.eval_readouts, full.target_readouts) == (256, 100, 100)


def resident() -> float:
    """MiB of this process that are in memory."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024


def test_room_for_games_longer_than_any_takes_no_memory() -> None:
    """128 games at full size, each with a few recorded positions, where there is room for 2.3 GB of them."""
    few = {"readouts": 2, "fast_readouts": 2, "eval_readouts": 2, "target_readouts": 2, "full_share": 1.0}
    chosen, sizes = settings("full", **few), []
    compile_kernels(chosen)

    class Enough(Exception):  # noqa: N818 - it is no error
        pass

    def evaluate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(resident())
        if len(sizes) == 12:
            raise Enough
        return np.zeros((len(planes), 362), np.float32), np.zeros(len(planes), np.float32)

    with pytest.raises(Enough):
        play_games(chosen, evaluate, 128, [1])
    assert sizes[-1] - sizes[0] < 100


@pytest.mark.slow
def test_a_generation_at_full_size_on_a_few_games(full_data: Path) -> None:
    """The network, the board and the search of the closed division; one game, cut short, and one small batch."""
    few = {
        "selfplay_processes": 0,
        "concurrent_games": 2,
        "max_moves": 6,
        "eval_games": 2,
        "eval_readouts": 8,
        "target_readouts": 8,
        "global_batch_size": 16,
        "position_share": 1.0,
        "cadence": {"limit": 2},
        "target": {"win_rate": 1.0},
        "precision": "fp32",
    }
    _, events = run(benchmark(full_data, "full", **few))
    assert events[-1]["key"] == "run_stop"
    assert len([event for event in events if event["key"] == "eval_accuracy"]) == 2


@pytest.fixture
def closed_logs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The writer of synthetic logs beside the golden tests."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "golden"))
    import closed_logs

    return closed_logs
