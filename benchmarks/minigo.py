"""MiniGo's engine, search and self-play beside OpenSpiel's, in one run; or how strong mini's model gets.

    pip install --no-deps open_spiel==2.0.2
    python benchmarks/minigo.py              speed, in CPU seconds of one thread
    python benchmarks/minigo.py --strength   a mini run, then games against a random player and GNU Go, if that is there

OpenSpiel knows no superko: a position that comes back ends its games. The other Go engines for Python: sente has no
wheels from Python 3.11 on; pgx needs JAX.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from octathlon import config, registry
from octathlon.benchmarks.minigo import turns
from octathlon.benchmarks.minigo.area import area
from octathlon.benchmarks.minigo.benchmark import SelfPlay
from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.game import Game
from octathlon.benchmarks.minigo.gtp import GNU_GO, engine
from octathlon.benchmarks.minigo.players import new_network, player
from octathlon.benchmarks.minigo.rules import (
    BLACK,
    KOMI,
    empty_board,
    empty_chains,
    find_chains,
    geometry,
    is_eye,
    place,
    remember,
    remembers,
    try_point,
)
from octathlon.benchmarks.minigo.search import Search
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.benchmarks.minigo.tree import advance
from octathlon.contracts import Run
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json

GAMES = 60
"""Against each opponent."""


@kernel
def playout(go, chains, board, seen, moves):
    """A random game without filling own eyes, to its end or so many moves; returns (moves made, Black's lead)."""
    points = len(board) - 1
    board[:points] = 0
    seen[:] = 0
    wanted = np.empty(points, np.int64)
    key, colour, passes = np.uint64(0), 1, 0
    for number in range(moves):
        find_chains(board, go, chains)
        count = 0
        for point in range(points):
            if board[point] == 0 and not is_eye(board, go, point, colour):
                lives, _, change = try_point(board, go, chains, point, colour)
                if lives and not remembers(seen, key ^ change):
                    wanted[count] = point
                    count += 1
        if count:
            key ^= place(board, go, chains, wanted[np.random.randint(count)], colour)  # noqa: NPY002 - numba's
            remember(seen, key)
        passes = 0 if count else passes + 1
        if passes == 2:
            return number + 1, area(board, go, chains, np.empty(points, np.int8)) - KOMI
        colour = -colour
    return moves, area(board, go, chains, np.empty(points, np.int8)) - KOMI


def rate(work: Callable[[], int], seconds: float = 2.0) -> float:
    """What `work` counts, per CPU second, after a first call that is not counted."""
    work()
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        count += work()
    return count / (time.process_time() - start)


def our_playouts(size: int) -> Callable[[], int]:
    """Random moves."""
    go, chains, board = geometry(size), empty_chains(size), empty_board(size)
    seen = np.zeros(1 << (6 * size * size).bit_length(), np.uint64)
    return lambda: playout(go, chains, board, seen, 3 * size * size)[0]


def our_search(size: int, evaluate) -> Callable[[], int]:
    """Visits, of 64 games at once."""
    settings = config.resolve("benchmarks", "minigo", "mini", {"board_size": size, "readouts": 200})

    def work() -> int:
        search = Search(settings, 64, evaluate)
        for game in range(64):
            search.reset(game, game)
        while search.trees.visits[:, 0].min() < 200:
            search.grow(search.trees.visits[:, 0] < 200)
        return int(search.trees.visits[:, 0].sum())

    return work


def speed() -> None:
    torch.set_num_threads(1)
    try:
        import pyspiel
    except ImportError:
        sys.exit("OpenSpiel is not there: pip install --no-deps open_spiel==2.0.2")

    def peer_moves(game) -> Callable[[], int]:
        rng = np.random.default_rng(1)

        def work() -> int:
            state, count = game.new_initial_state(), 0
            while not state.is_terminal():
                actions = state.legal_actions()
                state.apply_action(actions[rng.integers(len(actions))])
                count += 1
            return count

        return work

    def peer_search(game) -> Callable[[], int]:
        evaluator = pyspiel.RandomRolloutEvaluator(1, 1)
        bot = pyspiel.MCTSBot(game, evaluator, 2.0, 200, 100, False, 1, False)
        return lambda: bot.mcts_search(game.new_initial_state()) and 200

    print(f"{'board':>5} {'what':<42} {'ours':>12} {'OpenSpiel':>12} {'ratio':>7}")
    for size in (5, 9, 19):
        game = pyspiel.load_game(f"go(board_size={size},komi={KOMI})")
        points = size * size

        def uniform(planes, points=points):
            return np.zeros((len(planes), points + 1), np.float32), np.zeros(len(planes), np.float32)

        rows = [
            ("random moves/s (theirs driven by Python)", our_playouts(size), peer_moves(game)),
            ("search visits/s (theirs with rollouts)", our_search(size, uniform), peer_search(game)),
        ]
        for what, ours, theirs in rows:
            pair = rate(ours), rate(theirs)
            print(f"{size:>5} {what:<42} {pair[0]:>12,.0f} {pair[1]:>12,.0f} {pair[0] / pair[1]:>7.2f}")
    settings = config.resolve("benchmarks", "minigo", "mini", {})
    network = player(new_network(settings), torch.device("cpu"))
    games = rate(lambda: len(np.unique(play_games(settings, network, 128, [1])["game"])), 5.0)
    print(f"    5 {'mini: search visits/s with the network':<42} {rate(our_search(5, network)):>12,.0f}")
    print(f"    5 {'mini: games of self-play/s':<42} {games:>12,.1f}")


class Opponent:
    """A model that plays one game, by 24 readouts for each move."""

    def __init__(self, settings, evaluate) -> None:
        self.search = Search(settings, 1, evaluate)
        self.table = turns.lay(1, settings.board_size, settings.max_moves, 0)
        self.settings = settings

    def begin(self, number: int) -> None:
        self.search.reset(0, number << 40)
        self.table.streaks[0] = turns.PASSES  # settled areas are left alone, as in evaluations

    def choose(self) -> int:
        search, playing, ready = self.search, np.ones(1, np.bool_), np.zeros(1, np.bool_)
        search.goals[0] = search.trees.visits[0, 0] + self.settings.eval_readouts
        while not turns.find_ready(search.trees, search.goals, playing, ready):
            search.grow(playing)
        return turns.take_turn(search.trees, search.go, search.chains, self.table, 0, 0, 0.0, False)

    def play(self, move: int) -> None:
        advance(self.search.trees, self.search.go, self.search.chains, 0, move, self.settings.max_moves, True)


def share_won(model: Opponent, begin, choose, play) -> float:
    """The part of GAMES games that the model wins, as Black in every other one."""
    won = 0
    for number in range(GAMES):
        game = Game(5)
        model.begin(number)
        begin()
        while not game.is_over and len(game.moves) < 75:
            ours = (game.to_move == BLACK) == (number % 2 == 0)
            move = model.choose() if ours else choose(game)
            if ours:
                play(game.to_move, move)
            model.play(move)
            game.play(move)
        won += (game.score() > 0) == (number % 2 == 0)
    return won / GAMES


def strength() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder))
        facts = Run(seed=1, device=torch.device("cpu"), data=data, manifest=read_json(data / "manifest.json"))
        settings = config.resolve("benchmarks", "minigo", "mini", {})
        trained = SelfPlay(settings, facts)
        outcome = timed_run(trained, Events([], wall_clock()))
        fresh = trained._load("checkpoint")
    print(
        f"mini, seed 1: win rate {outcome.quality['win_rate']:.2f} against the target model; {GAMES} games each:"
    )
    rng = np.random.default_rng(1)

    def random_move(game: Game) -> int:
        legal = game.legal()[:-1]
        points = [
            point for point in np.flatnonzero(legal) if not is_eye(game.board, game._go, point, game.to_move)
        ]
        return int(rng.choice(points)) if points else game.size**2

    gnugo = shutil.which("gnugo") or shutil.which("/usr/games/gnugo")
    for name, model in (("trained", trained._model), ("checkpoint, untrained", fresh)):
        opponent = Opponent(settings, player(model, torch.device("cpu")))
        result = share_won(opponent, lambda: None, random_move, lambda colour, move: None)
        print(f"  {name} against a random player: {result:.2f}")
        if gnugo:
            command = (gnugo, *GNU_GO[1:], "--capture-all-dead", "--level", "1", "--seed", "1")
            with engine(command, 5) as go:
                result = share_won(
                    opponent, lambda: go.ask("clear_board"), lambda game: go.generate(game.to_move), go.play
                )
            print(f"  {name} against GNU Go, level 1: {result:.2f}")


def prepared(folder: Path) -> Path:
    """Mini's models and games."""
    settings = config.resolve("datasets", "minigo_models", "mini", {})
    miniature, preparer = registry.miniature("minigo_models"), registry.preparer("minigo_models")
    for name in preparer.archives(settings):
        miniature.draw(name, folder, seed=1, **settings.miniature)
    for step in ("checkpoint", "target", "manifest"):
        preparer.prepare(step, folder, folder / "prepared", settings)
    return folder / "prepared"


if __name__ == "__main__":
    strength() if "--strength" in sys.argv[1:] else speed()
