"""Reinforcement learning: Go by self-play (MLPerf Training v1.1, `minigo`).

An epoch is a generation: the newest model plays, the window of the newest generations' games is trained on, and the
model that comes of it plays the next generation. The first one trains on the games that come with the checkpoint.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from octathlon.benchmarks.minigo.kernels import compile_kernels
from octathlon.benchmarks.minigo.match import Played, play_match
from octathlon.benchmarks.minigo.network import DualNetwork
from octathlon.benchmarks.minigo.players import SelfPlayers, new_network, player
from octathlon.benchmarks.minigo.settings import Settings
from octathlon.benchmarks.minigo.sgf import collection
from octathlon.benchmarks.minigo.window import Window, batches, even_out
from octathlon.contracts import Benchmark, Run, SampleCounts, Schedule, Trainer
from octathlon.datasets.ahead import ahead
from octathlon.datasets.minigo_models.loader import load_games, load_momentum, load_weights
from octathlon.datasets.minigo_models.names import tensor_names
from octathlon.datasets.minigo_models.rows import PLANES
from octathlon.errors import OctathlonError
from octathlon.nn import world
from octathlon.nn.optimizers import UncompiledSGD
from octathlon.nn.sampling import rank_share
from octathlon.nn.schedules import StepSchedule
from octathlon.receipts import publish

VALUE_WEIGHT = 0.5
"""Of the value's squared error, beside the policy's cross-entropy."""
AHEAD = 4
"""Batches that a thread turns while the device trains: one takes longer to turn than a GPU to train on."""
PLAY, DRAW = 1, 2
"""What random numbers are for."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Planes, policies, outcomes."""


class SelfPlay(Benchmark[Settings]):
    """The contract's members for minigo."""

    evaluates_off_the_clock = True

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        self._games = [generation["games"] for generation in run.manifest["generations"]]
        size, fewest = run.manifest["board_size"], min(self._games)
        if size != settings.board_size or fewest < settings.min_selfplay_games:
            raise OctathlonError(
                f"{run.data}: games on a board of {size} lines, at least {fewest} of each generation; the settings "
                f"want board_size {settings.board_size} and min_selfplay_games {settings.min_selfplay_games}: "
                "make them agree"
            )
        self._window = Window(settings, run.rank, run.world)
        self._opponent: DualNetwork | None = None

    def sample_counts(self) -> SampleCounts:
        """There are no epochs over data; games are what is evaluated on."""
        return SampleCounts(0, self.settings.eval_games)

    def build_model(self) -> nn.Module:
        """The checkpoint's model. Kernels are compiled and self-play processes started here, off the clock."""
        compile_kernels(self.settings)
        self._players = SelfPlayers(self.settings, self.run.device)
        self._model = self._load("checkpoint")
        return self._model

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        """Kernels and the batch norms' gammas are decayed, biases and betas not. The checkpoint's momentum goes on."""
        settings, first = self.settings, self.run.manifest["global_step"]
        parts: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in model.named_parameters():
            parts[name.endswith("weight")].append(parameter)
        groups = [
            {"params": parts[True], "weight_decay": settings.weight_decay},
            {"params": parts[False], "weight_decay": 0.0},
        ]
        optimizer = UncompiledSGD(groups, lr=settings.lr_rates[0], momentum=settings.momentum)
        parameters = dict(model.named_parameters())
        for name, momentum in load_momentum(self.run.data, self.run.manifest).items():
            optimizer.state[parameters[name]]["momentum_buffer"] = momentum.to(self.run.device)

        def rate(step: int) -> float:
            return settings.lr_rates[bisect_left(settings.lr_boundaries, first + step)]

        return optimizer, StepSchedule(optimizer, rate)

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        return (model,)

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            "train_batch_size": settings.global_batch_size,
            "lr_boundaries": list(settings.lr_boundaries),
            "lr_rates": list(settings.lr_rates),
            "min_selfplay_games_per_generation": settings.min_selfplay_games,
            "opt_weight_decay": settings.weight_decay,
            "window_size": settings.window,
            "filter_amount": settings.position_share,
            "num_readouts": settings.readouts,
            "virtual_losses": settings.virtual_losses,
            "value_init_penalty": settings.value_init_penalty,
            "disable_resign_pct": settings.resign_holdout,
            "eval_games": settings.eval_games,
        }

    def tensor_names(self, model: nn.Module) -> list[str]:
        """TensorFlow's names, as the round's logs have them."""
        names = [name for name in tensor_names(self.settings.blocks) if "moving" not in name]
        return [*names, "global_step"]

    def train_block(self, trainer: Trainer, mark: float) -> None:
        while not trainer.progress.reached(mark, "epochs"):
            generation, trained = trainer.progress.epochs + 1, trainer.progress.epoch_batches
            if not trained:
                self._gather(generation)
                for games in self._games[-self.settings.window :]:
                    trainer.point("actual_selfplay_games_per_generation", games, epoch_num=generation)
            self._model.train()
            for batch in self.train_batches(generation, trained):
                trainer.step(batch)
            world.average_batch_norm(self._model)
            trainer.end_epoch()
            trainer.check_losses()  # before a diverged model plays for hours

    def train_batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """This rank's batches of a generation, as many as each other rank's."""
        settings = self.settings
        rng = np.random.default_rng([self.run.seed, epoch, DRAW, self.run.rank])
        update = self._local_batch * settings.gradient_accumulation_steps
        rows = even_out(self._window.draw(rng), update, self.run.device)
        made = batches(rows, settings.board_size, self._local_batch, rng, first)
        yield from ahead((tuple(map(torch.from_numpy, batch)) for batch in made), AHEAD)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        planes, policies, outcomes = (part.to(self.run.device, non_blocking=True) for part in batch)
        logits, values = model(planes.to(memory_format=torch.channels_last))
        error = (values.float() - outcomes).square().mean()
        return cross_entropy(logits.float(), policies) + VALUE_WEIGHT * error

    def state(self) -> Mapping[str, Tensor]:
        """The window: rows of a generation after the other, as bytes, and how many games each has."""
        return {"games": torch.tensor(self._games), **self._window.state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        rows = dict(state)
        self._games = [int(games) for games in rows.pop("games", torch.zeros(0))]
        self._window.restore(rows)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The part of the games against the target model that the model wins; each rank plays a share."""
        settings, run = self.settings, self.run
        self._opponent = self._opponent or self._load("target")
        numbers = rank_share(settings.eval_games, run.rank, run.world)
        candidate, target = player(model, run.device), player(self._opponent, run.device)
        games = play_match(settings, candidate, target, numbers, run.seed) if numbers else []
        self._keep(games)
        wins = world.all_sum(torch.tensor(sum(game.won for game in games), device=run.device))
        return {"win_rate": wins.item() / settings.eval_games}

    def rehearse_epoch(self, model: nn.Module, seconds: float) -> Mapping[str, float]:
        """Games are as long as those of the data, and their first moves stand for all; a readout is a position."""
        settings, games = self.settings, self.settings.min_selfplay_games
        recorded, kept = self._window.counts()
        rate = self._players.positions_per_second(model, self._window.share, seconds)
        # with more ranks than games some have none to count, and none to play
        sums = torch.tensor([recorded, kept, rate], dtype=torch.float64, device=self.run.device)
        recorded, kept, rate = world.all_sum(sums).tolist()
        recorded /= kept
        share = settings.full_share
        readouts = share * settings.readouts + (1 - share) * settings.fast_readouts
        return {
            "samples": settings.window * games * recorded * settings.position_share,
            "seconds": games * recorded / share * readouts / rate,
            "positions_per_s": rate,
        }

    def synthetic_batch(self) -> Batch:
        size, count = self.settings.board_size, self._local_batch
        policies = torch.full((count, size * size + 1), 1 / (size * size + 1))
        return torch.zeros(count, PLANES, size, size), policies, torch.zeros(count)

    def _gather(self, generation: int) -> None:
        """The games to learn from: those of the checkpoint, or those that the newest model plays now."""
        run = self.run
        if generation == 1:
            for rows, games in zip(load_games(run.data, run.manifest), self._games, strict=True):
                share = rank_share(games, run.rank, run.world)
                first, last = np.searchsorted(rows["game"], [share.start, share.stop])
                self._window.add(rows[first:last])
            return
        seed = [run.seed, generation, PLAY, run.rank]
        self._window.add(self._players.play(self._model, self._window.share, seed))
        self._games.append(self.settings.min_selfplay_games)

    def _load(self, name: str) -> DualNetwork:
        model = new_network(self.settings)
        state = load_weights(self.run.data, self.run.manifest, name)
        expected = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
        if {key: value.shape for key, value in expected.items()} != {
            key: value.shape for key, value in state.items()
        }:
            raise OctathlonError(
                f"{self.run.data}: its {name} model is not one of {self.settings.filters} filters, "
                f"{self.settings.blocks} blocks and {self.settings.value_units} value units as the settings say: "
                "make them agree"
            )
        model.load_state_dict(state, strict=False)
        return model.to(self.run.device, memory_format=torch.channels_last)

    def _keep(self, games: list[Played]) -> None:
        """Leave the games of the newest evaluation beside the log."""
        if self.run.log and self.run.rank == 0:
            with publish(self.run.log.with_suffix(".sgf")) as temporary:
                temporary.write_text(collection(games, self.settings.board_size))


BENCHMARK = SelfPlay
