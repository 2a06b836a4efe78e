"""MiniGo's engine, search and self-play beside OpenSpiel's, in one run; or how strong mini's model gets.

    pip install --no-deps open_spiel==2.0.2
    python benchmarks/minigo.py              speed, in CPU seconds of one thread, and what it makes of a generation
    python benchmarks/minigo.py --strength   a mini run, then games against a random player and GNU Go, if that is there

Each move of a random game is any legal one with the same probability, as in OpenSpiel's own rollouts, in C++ as in its
search; a search asks, on both sides, for the result of one such game at each new position. OpenSpiel knows no superko:
a position that comes back ends its games. The other Go engines for Python: sente has no wheels from Python 3.11 on;
pgx needs JAX.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from timing import HEADER, compare, seconds

from octathlon import config, registry
from octathlon.benchmarks.minigo import turns
from octathlon.benchmarks.minigo.area import area
from octathlon.benchmarks.minigo.benchmark import SelfPlay
from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.features import PLANES
from octathlon.benchmarks.minigo.game import Game
from octathlon.benchmarks.minigo.gtp import GNU_GO, engine
from octathlon.benchmarks.minigo.kernels import rehearse
from octathlon.benchmarks.minigo.players import player
from octathlon.benchmarks.minigo.rules import (
    BLACK,
    BORDER,
    EMPTY,
    KOMI,
    WHITE,
    empty_board,
    empty_chains,
    geometry,
    place,
    remember,
    remembers,
)
from octathlon.benchmarks.minigo.search import Evaluate, Search
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.benchmarks.minigo.tree import advance
from octathlon.contracts import Run
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json

GAMES = 60
"""Against each opponent, or at random."""
VISITS = 200
MOVES, CORES = 200, 32
"""Of a game of self-play, and of the machine, by which a generation's time is told."""


class Room(NamedTuple):
    """What random games are played in; arrays of a board's size but where said."""

    board: np.ndarray
    before: np.ndarray
    """The board before a move."""
    order: np.ndarray
    """int16: the empty points first."""
    stood: np.ndarray
    """Where stones of White and of Black have been in the game, bool of shape (2, points)"""
    seen: np.ndarray
    """The keys of its positions, see `rules.remember`."""
    owned: np.ndarray


def furnish(size: int, most: int) -> Room:
    """Room for games of at most so many moves."""
    points = size * size
    return Room(
        board=empty_board(size),
        before=empty_board(size),
        order=np.zeros(points, np.int16),
        stood=np.zeros((2, points), np.bool_),
        seen=np.zeros(1 << (2 * most).bit_length(), np.uint64),
        owned=np.zeros(points, np.int8),
    )


@kernel
def play_randomly(room, go, chains, colour, max_moves):
    """Go on from `room.board`, `colour` first, until two passes; returns (how many moves, whether Black won)."""
    count = begin(room)
    key, moves, passes = np.uint64(1), 0, 0  # keys count from where the game begins; 0 would be none
    remember(room.seen, key)
    while moves < max_moves and passes < 2:
        index, taken, change = draw(room, go, chains, colour, key, count)
        if index == count:
            passes += 1
        else:
            count -= 1
            point = room.order[index]
            room.order[index] = room.order[count]
            for back in range(taken):
                room.order[count + back] = chains.stack[back]
            count += taken
            room.stood[int(colour == BLACK), point] = True
            key ^= change
            remember(room.seen, key)
            passes = 0
        moves += 1
        colour = -colour
    return moves, area(room.board, go, chains, room.owned) > KOMI


@kernel
def begin(room):
    """Enter what is on the board; returns how many points are empty."""
    room.seen[:] = 0
    count = 0
    for point in range(len(room.order)):
        stone = room.board[point]
        room.stood[0, point], room.stood[1, point] = stone == WHITE, stone == BLACK
        if stone == EMPTY:
            room.order[count] = point
            count += 1
    return count


@kernel
def draw(room, go, chains, colour, key, count):
    """Make a move drawn among all that are legal: whatever is drawn first and legal is as likely as any other.

    Returns:
        (its place in the order, or `count`, a pass; stones captured; change of the key)
    """
    left = count
    room.before[:] = room.board
    while True:
        index = np.random.randint(left + 1)  # noqa: NPY002 - numba's
        if index == left:
            return count, 0, np.uint64(0)
        point = room.order[index]
        lives, taken, change = place(room.board, go, chains, point, colour)
        stood = room.stood[int(colour == BLACK), point]  # elsewhere no position can come back
        if lives and not (stood and remembers(room.seen, key ^ change)):
            return index, taken, change
        room.board[:] = room.before
        left -= 1
        room.order[index], room.order[left] = room.order[left], point


class Rollouts:
    """Random games, from the beginning or from a position as a network sees it."""

    def __init__(self, size: int) -> None:
        self._size, self._most = size, 2 * size * size
        self._go, self._chains, self._room = geometry(size), empty_chains(size), furnish(size, self._most)

    def play(self) -> int:
        """A game from its beginning; how many moves it has."""
        return self._go_on(EMPTY, BLACK)[0]

    def evaluate(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """No preference among moves, and who wins one game each."""
        values = np.empty(len(planes), np.float32)
        for number, seen in enumerate(planes.reshape(len(planes), PLANES, -1)):
            colour = BLACK if seen[8, 0] else WHITE
            values[number] = 1 if self._go_on((seen[0].astype(np.int8) - seen[1]) * colour, colour)[1] else -1
        return np.zeros((len(planes), self._size**2 + 1), np.float32), values

    def _go_on(self, stones: np.ndarray | int, colour: int) -> tuple[int, bool]:
        self._room.board[:-1] = stones
        return play_randomly(self._room, self._go, self._chains, colour, self._most)


def search(size: int, games: int, evaluate: Evaluate) -> None:
    """VISITS visits in each of some games."""
    settings = config.resolve("benchmarks", "minigo", "mini", {"board_size": size, "readouts": VISITS})
    searched = Search(settings, games, evaluate)
    for game in range(games):
        searched.reset(game, game)
    while searched.trees.visits[:, 0].min() < VISITS:
        searched.grow(searched.trees.visits[:, 0] < VISITS)


def mean_length(game: Any) -> float:
    """Moves of OpenSpiel's random games."""
    rng, lengths = np.random.default_rng(1), []
    for _ in range(GAMES):
        state = game.new_initial_state()
        while not state.is_terminal():
            state.apply_action(rng.choice(state.legal_actions()))
        lengths.append(state.move_number())
    return float(np.mean(lengths))


def speed() -> None:
    torch.set_num_threads(1)
    try:
        import pyspiel
    except ImportError:
        print("OpenSpiel is not installed: no Go engine to compare with")
        return
    print(HEADER)
    for size in (9, 19):
        game, ours = pyspiel.load_game(f"go(board_size={size},komi={KOMI})"), Rollouts(size)
        moves = GAMES * np.mean([ours.play() for _ in range(GAMES)])

        def bot(rollouts: int, visits: int, game=game):
            evaluator = pyspiel.RandomRolloutEvaluator(rollouts, 1)
            return pyspiel.MCTSBot(game, evaluator, 2.0, visits, 100, False, 1, False)

        compare(
            f"minigo, random moves on {size}x{size}",
            "moves/s",
            moves,
            lambda ours=ours: [ours.play() for _ in range(GAMES)],
            "OpenSpiel",
            lambda bot=bot, game=game: bot(GAMES, 1).mcts_search(game.new_initial_state()),
            "Its rollouts in C++ list all legal moves. Ours draw until one is legal, and let no position come back.",
            GAMES * mean_length(game),
        )
        compare(
            f"minigo, search on {size}x{size}",
            "visits/s",
            VISITS,
            lambda ours=ours, size=size: search(size, 1, ours.evaluate),
            "OpenSpiel",
            lambda bot=bot, game=game: bot(1, VISITS).mcts_search(game.new_initial_state()),
            "One random game for each new position in both. Ours also writes what a network would see.",
        )


def generation() -> None:
    """Print how long a generation of self-play takes by what trees cost at full scale; the network costs nothing."""
    settings = config.resolve("benchmarks", "minigo", "full", {"max_moves": MOVES})
    rng, visits = np.random.default_rng(1), 0
    logits = rng.normal(0, 2, (8 * settings.concurrent_games, settings.board_size**2 + 1)).astype(np.float32)
    values = rng.normal(0, 0.1, len(logits)).astype(np.float32)

    def evaluate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal visits
        visits += len(planes)
        first = rng.integers(len(logits) - len(planes))
        return logits[first : first + len(planes)], values[first : first + len(planes)]

    rehearse(settings)
    shorter = settings.model_copy(update={"readouts": settings.readouts // 8, "fast_readouts": 10})
    each = seconds(lambda: play_games(shorter, evaluate, settings.concurrent_games, [1])) / visits
    readouts = settings.full_share * settings.readouts + (1 - settings.full_share) * settings.fast_readouts
    games = settings.min_selfplay_games
    print(
        f"* minigo, self-play at full scale: {each * 1e6:.1f} CPU us for a visit, whatever the network takes. Then "
        f"{CORES} cores need {games * MOVES * readouts * each / CORES:,.0f} s for a generation, if it has {games:,} "
        f"games of {MOVES} moves and a move {readouts:.0f} visits. Measured with {settings.concurrent_games} games at "
        "once, searches of an eighth of the readouts, and made-up answers of a network."
    )


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
        around = game.board[game._go.neighbours]
        eyes = ((around == game.to_move) | (around == BORDER)).all(axis=1)
        points = np.flatnonzero(legal & ~eyes)
        return int(rng.choice(points)) if len(points) else game.size**2

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
    if "--strength" in sys.argv[1:]:
        strength()
    else:
        speed()
        generation()
