"""dlrm: the model against published figures, the contract's members, quality over seeds."""

from __future__ import annotations

import math
import shutil
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click_logs_archives import draw, prepare_all, read_rows, settings
from test_embeddings import CLICK_LOGS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from octathlon import config
from octathlon.benchmarks.dlrm.benchmark import Recommendation
from octathlon.benchmarks.dlrm.model import DLRM
from octathlon.contracts import Progress, Run
from octathlon.errors import OctathlonError
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.nn.embeddings import ShardedEmbeddings
from octathlon.nn.schedules import warmup_hold_polynomial
from octathlon.receipts import read_json
from octathlon.scoring import compliance

FULL = {"counts": {"train": 4_195_197_692, "eval": 89_137_319}, "table_sizes": CLICK_LOGS}


def benchmark(
    scale: str = "mini", data: Path | None = None, rank: int = 0, world: int = 1, seed: int = 1, **over: Any
):
    manifest = read_json(data / "manifest.json") if data else FULL
    run = Run(seed=seed, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    return Recommendation(config.resolve("benchmarks", "dlrm", scale, over), run)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11,500 training and 1,001 evaluation rows."""
    folder = tmp_path_factory.mktemp("click_logs")
    prepare_all(draw(folder / "archives"), folder / "out", settings(days=24))
    return folder / "out"


# The model -------------------------------------------------------------------------------------------


def full_model(sizes: list[int], device: str) -> DLRM:
    chosen = config.resolve("benchmarks", "dlrm", "full", {})
    embeddings = ShardedEmbeddings(sizes, chosen.bottom_mlp[-1], device=torch.device(device))
    return DLRM(13, chosen.bottom_mlp, chosen.top_mlp, embeddings, len(sizes), torch.device(device))


def test_parameters_of_the_full_model() -> None:
    model = full_model(CLICK_LOGS, "meta")
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count == {"bottom_mlp": 171_392, "top_mlp": 2_197_505, "embeddings": 24_034_227_072}
    assert sum(count.values()) == 24_036_595_969
    assert model.top_mlp[0].in_features == 479


def test_the_order_of_the_products() -> None:
    model = DLRM(1, [2], [], ShardedEmbeddings([1, 1], 2, device=torch.device("cpu")), 2, torch.device("cpu"))
    made = model.interact(torch.tensor([[[1.0, 2]], [[3, 4]], [[5, 6]]]))
    assert made.tolist() == [[1, 2, 11, 17, 39, 0, 0, 0]]


def test_the_products_go_by_tables_wherever_their_vectors_lie() -> None:
    """Of two ranks the first has table 2: its vectors come before those of the others."""
    embeddings = ShardedEmbeddings([5, 7, 9], 2, world=2, device=torch.device("cpu"))
    assert embeddings.order == [2, 0, 1]
    model = DLRM(1, [2], [], embeddings, 3, torch.device("cpu"))
    given, first, second, third = (torch.randn(5, 2) for _ in range(4))
    products = [(a * b).sum(1) for a, b in combinations((given, first, second, third), 2)]
    expected = torch.stack([products[number] for number in (0, 1, 3, 2, 4, 5)], dim=1)
    made = model.interact(torch.stack([given, third, first, second]))
    torch.testing.assert_close(made, torch.cat([given, expected], dim=1))


def test_gradients_of_the_products() -> None:
    """Against numerical ones, in 64 bits."""
    model = DLRM(
        1, [3], [], ShardedEmbeddings([2, 4, 1], 3, device=torch.device("cpu")), 3, torch.device("cpu")
    )
    vectors = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.interact, vectors)


def test_every_bottom_layer_ends_in_a_relu_and_the_top_in_a_logit() -> None:
    model = full_model([3] * 26, "meta")
    kinds = [
        ["Linear" if isinstance(layer, nn.Linear) else type(layer).__name__ for layer in mlp]
        for mlp in (model.bottom_mlp, model.top_mlp)
    ]
    assert kinds == [["Linear", "ReLU"] * 3, ["Linear", "ReLU"] * 4 + ["Linear"]]


def test_initialisation() -> None:
    model = full_model([4] + [3] * 25, "cpu")
    model.reset_parameters()
    first, last = model.bottom_mlp[0], model.top_mlp[-1]
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 525), rel=0.03)
    assert first.bias.std().item() == pytest.approx(math.sqrt(1 / 512), rel=0.15)
    assert last.weight.std().item() == pytest.approx(math.sqrt(2 / 257), rel=0.2)
    assert 0.45 < model.embeddings.weight[:4].abs().max() <= 0.5


@pytest.mark.parametrize("top", [[8, 4], []])
def test_logits_under_autocast_keep_32_bits(top: list[int]) -> None:
    """The last layer, of what the layers before it give in bf16; forward, and backward for its weights."""
    torch.manual_seed(1)
    model = DLRM(13, [8], top, ShardedEmbeddings([9], 8, device=torch.device("cpu")), 1, torch.device("cpu"))
    model.reset_parameters()
    kept = []
    model.top_mlp[-1].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.rand(4000, 13), torch.randint(9, (4000, 1)))
    last = model.top_mlp[-1]
    hidden = kept[0][:, : last.in_features]
    assert (hidden.dtype, logits.dtype) == (torch.float32, torch.float32)
    assert hidden.equal(hidden.bfloat16().float())
    expected = hidden.double() @ last.weight.double().T + last.bias.double()
    np.testing.assert_allclose(logits.detach(), expected.detach().squeeze(1), rtol=1e-6, atol=1e-6)
    assert len(logits.unique()) > 1000
    logits.sum().backward()
    np.testing.assert_allclose(last.weight.grad.squeeze(0), hidden.double().sum(0), rtol=1e-5)


# Schedule and log --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "rate"),
    [
        (1, 0.00872727),
        (1375, 12.0),
        (2749, 23.991273),
        (2750, 24.0),
        (40_000, 24.0),
        (49_315, 24.0),
        (49_316, 23.998272),
        (63_201, 6.0),
        (70_000, 1.562866),
        (77_087, 0.0),
        (90_000, 0.0),
    ],
)
def test_the_submissions_rates(number: int, rate: float) -> None:
    """Of update `number`, counted from 1, with the full scale's settings."""
    model = nn.Linear(1, 1)
    _, schedule = benchmark("full").build_optimizer(model)
    assert schedule.set(Progress(train_samples=1, steps=number - 1)) == pytest.approx(rate, rel=1e-6)


def test_a_schedule_without_warm_up_or_decay_is_constant() -> None:
    keys = {"base": 1.0, "warmup_steps": 0, "decay_start": 10**9, "decay_steps": 1, "power": 2}
    assert {warmup_hold_polynomial(step, **keys) for step in (0, 1, 10_000)} == {1.0}


def test_what_the_round_wants_logged() -> None:
    full = benchmark("full")
    logged = dict(full.hyperparameters())
    assert logged == {
        "opt_name": "sgd",
        "opt_base_learning_rate": 24.0,
        "sgd_opt_base_learning_rate": 24.0,
        "opt_learning_rate_warmup_steps": 2750,
        "lr_decay_start_steps": 49315,
        "sgd_opt_learning_rate_decay_steps": 27772,
        "sgd_opt_learning_rate_decay_poly_power": 2.0,
    }
    demanded = compliance.layers("v1.1")["closed_dlrm"]
    assert not set(demanded) - set(logged) - {"global_batch_size", "eval_accuracy", "weights_initialization"}
    assert full.target().thresholds == {"AUC": 0.8025}
    assert full.settings.global_batch_size == 55_296


@pytest.mark.parametrize("scale", ["mini", "full"])
def test_the_tensors_that_the_round_knows(scale: str) -> None:
    chosen = benchmark(scale).settings
    embeddings = ShardedEmbeddings([3], chosen.bottom_mlp[-1], device=torch.device("meta"))
    model = DLRM(13, chosen.bottom_mlp, chosen.top_mlp, embeddings, 1, torch.device("meta"))
    layers = [f"bottom_mlp_dense{n}" for n in (1, 2, 3)] + [f"top_mlp_dense{n}" for n in (1, 2, 3, 4, 5)]
    assert list(benchmark(scale).tensor_names(model)) == ["embeddings", *layers]


def test_twenty_evaluations_in_one_epoch() -> None:
    """Every 209,715,200 rows or a step later, and counted as the published logs do: 1.05, 1.1, ... 2."""
    full = benchmark("full")
    marks = list(full.cadence().marks())
    assert marks == pytest.approx([n / 20 for n in range(1, 21)])
    steps = math.ceil(marks[0] * FULL["counts"]["train"] / 55_296)
    assert steps == 3794
    progress = Progress(train_samples=FULL["counts"]["train"], epoch_samples=3794 * 55_296)
    assert full.epoch_num(progress) == pytest.approx(1.05, abs=1e-4)
    assert full.epoch_num(Progress(train_samples=1, epochs=1)) == 2


# Batches -----------------------------------------------------------------------------------------------


def batches(data: Path, **keys: Any) -> list[np.ndarray]:
    return [batch.numpy() for batch in benchmark(data=data, **keys).train_batches(1)]


def test_an_epoch_sees_each_row_once(small: Path) -> None:
    """All whole batches, in an order of the run's own; the incomplete last one is dropped."""
    rows = read_rows(small, read_json(small / "manifest.json"), "train")
    made = batches(small)
    assert [batch.shape for batch in made] == [(128, 40)] * (11_500 // 128)
    kept = rows[: 11_500 // 128 * 128].reshape(-1, 128 * 40)
    together = np.stack(made).reshape(-1, 128 * 40)
    assert sorted(map(bytes, together)) == sorted(map(bytes, kept))
    assert together.tolist() != kept.tolist()


def test_the_seed_orders_the_batches(small: Path) -> None:
    assert np.array_equal(batches(small, seed=5), batches(small, seed=5))
    assert not np.array_equal(batches(small, seed=5), batches(small, seed=6))


def test_ranks_accumulation_and_the_thread_change_no_global_batch(small: Path) -> None:
    alone = np.stack(batches(small))
    over = {"gradient_accumulation_steps": 2, "loader_workers": 1}
    ranks = [np.stack(batches(small, rank=rank, world=2, **over)).reshape(-1, 2, 32, 40) for rank in (0, 1)]
    assert np.array_equal(np.stack(ranks, axis=2).reshape(-1, 128, 40), alone)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_ranks_evaluate_each_row_once_in_equal_steps(small: Path, world: int) -> None:
    """1,001 rows: shared tables need the same batches on all ranks; what is read beyond a share is cut off."""
    made = [
        benchmark(data=small, rank=rank, world=world, eval_batch_size=64, global_batch_size=world)
        for rank in range(world)
    ]
    keys = [each._evaluation_keys() for each in made]
    assert len({tuple(count for _, count in each) for each in keys}) == 1
    seen = [
        [first + offset for first, count in each for offset in range(count)][: len(own._share())]
        for each, own in zip(keys, made, strict=True)
    ]
    assert sum(seen, []) == list(range(1001))


def test_a_batch_larger_than_the_training_set_is_refused(small: Path) -> None:
    with pytest.raises(OctathlonError, match="more than the 11500 training rows"):
        benchmark(data=small, global_batch_size=11_501)


@pytest.mark.parametrize(("world", "gigabytes"), [(2, 63), (4, 43), (8, 32), (16, 32)])
def test_an_evaluation_fits_beside_the_tables(world: int, gigabytes: int) -> None:
    """The round's tables: 2 to 16 GPUs of 80 GB have room, with no more than these needed; one has not."""
    full = benchmark("full", world=world)
    full._require_memory(gigabytes * 10**9)
    with pytest.raises(
        OctathlonError, match=r"GB to evaluate with eval_batch_size 221184, but cpu has 28\.0 GB"
    ):
        full._require_memory(28 * 10**9)
    with pytest.raises(OctathlonError, match="needs 96.1 GB for embedding tables"):
        benchmark("full")._require_memory(80 * 10**9)


def test_a_smaller_evaluation_batch_needs_less_until_the_auc_needs_most() -> None:
    """89,137,319 scores, of 64 bytes each while their AUC is computed: 5.7 GB beside 20.5 GB of tables."""
    benchmark("full", world=8, eval_batch_size=1)._require_memory(26_200_000_000)
    with pytest.raises(OctathlonError, match="20.5 GB for embedding tables and 5.7 GB to evaluate"):
        benchmark("full", world=8, eval_batch_size=1)._require_memory(26_100_000_000)


# Training ----------------------------------------------------------------------------------------------


def test_initial_tables_are_the_same_wherever_they_lie(small: Path) -> None:
    def tables(rank: int, world: int) -> list[float]:
        torch.manual_seed(1)
        return benchmark(data=small, rank=rank, world=world).build_model().embeddings.weight.sum(1).tolist()

    assert sorted(tables(0, 2) + tables(1, 2)) == sorted(tables(0, 1))


class Calls(TorchDispatchMode):
    """The names of the operations that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.made: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made.add(func.overloadpacket._qualified_op_name)
        return func(*args, **kwargs or {})


def test_no_operation_of_a_step_waits_for_a_device(small: Path) -> None:
    """Nor does the shape of any depend on what the rows hold."""
    chosen = benchmark(data=small)
    model = chosen.build_model()
    optimizer, _ = chosen.build_optimizer(model)
    batch = next(iter(chosen.train_batches(1)))
    with Calls() as calls:
        chosen.loss(model, batch).backward()
        chosen.update(model, optimizer)
    assert "aten::sort" in calls.made  # it sees the backward pass, and what follows it
    values = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "_coalesce", "index_put"}
    assert not {f"aten::{name}" for name in values} & calls.made


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the mini scale."""
    chosen = config.resolve("datasets", "click_logs", "mini", {})
    folder = tmp_path_factory.mktemp("mini")
    prepare_all(draw(folder / "archives", **chosen.miniature), folder / "out", chosen)
    return folder / "out"


def outcome(data: Path, seed: int) -> tuple[bool, float]:
    torch.set_num_threads(1)
    made = timed_run(benchmark(data=data, seed=seed), Events([], time.monotonic))
    return made.reached, made.quality["AUC"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_mini_reaches_the_target_whatever_the_seed(mini: Path, seed: int) -> None:
    assert outcome(mini, seed)[0]


@pytest.mark.slow
def test_permuted_labels_teach_nothing(mini: Path, tmp_path: Path) -> None:
    """The same rows with clicks dealt out anew: far from the target at the end of the epoch."""
    broken = shutil.copytree(mini, tmp_path / "broken", ignore=shutil.ignore_patterns("work"))
    for path in broken.glob("train-*.bin"):
        rows = np.fromfile(path, "<i4").reshape(-1, 40)
        rows[:, 0] = np.random.default_rng(1).permutation(rows[:, 0])
        rows.tofile(path)
    reached, quality = outcome(broken, 1)
    assert not reached
    assert 0.45 < quality < 0.55
