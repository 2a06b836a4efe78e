"""Go by the rules: known positions, properties, an independent plain engine, and GNU Go as referee."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octathlon.benchmarks.minigo.area import all_pass_alive, area
from octathlon.benchmarks.minigo.game import Game
from octathlon.benchmarks.minigo.gtp import GNU_GO, engine
from octathlon.benchmarks.minigo.rules import (
    BLACK,
    BORDER,
    WHITE,
    empty_board,
    empty_chains,
    find_chains,
    geometry,
)

POSITIONS = Path(__file__).resolve().parents[3] / "shared" / "go" / "positions.jsonl"
GNUGO = shutil.which("gnugo", path=f"{os.environ['PATH']}{os.pathsep}/usr/games")


def board(*rows: str) -> np.ndarray:
    """A board drawn with X for Black, O for White, . for empty."""
    drawn = empty_board(len(rows))
    drawn[:-1] = [{"X": BLACK, "O": WHITE, ".": 0}[point] for row in rows for point in row]
    return drawn


def position(*rows: str, to_move: int = BLACK) -> Game:
    """A game that has come to a position without having been elsewhere."""
    game = Game(len(rows))
    game.board[:] = board(*rows)
    points = np.flatnonzero(game.board[:-1])
    keys = [game._go.zobrist[int(game.board[point] == BLACK), point] for point in points]
    game._key = np.bitwise_xor.reduce(np.array(keys, np.uint64))
    game._seen = {game._key}
    game.to_move = to_move
    return game


def counted(drawn: np.ndarray) -> int:
    """Black's area minus White's."""
    size = int(np.sqrt(len(drawn) - 1))
    return int(area(drawn, geometry(size), empty_chains(size), np.zeros(size * size, np.int8)))


def settled(drawn: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether all of the board is unconditionally alive, and whose."""
    size = int(np.sqrt(len(drawn) - 1))
    owned = np.zeros(size * size, np.int8)
    return all_pass_alive(drawn, geometry(size), empty_chains(size), owned), owned


def random_game(size: int, rng: np.random.Generator, most: int, keep_eyes: bool = False):
    """Yields a game before each of its random moves."""
    game = Game(size)
    while not game.is_over and len(game.moves) < most:
        legal = game.legal()
        yield game, legal
        points = np.flatnonzero(legal[:-1])
        if keep_eyes:
            around = game.board[game._go.neighbours]
            points = points[~((around == game.to_move) | (around == BORDER)).all(1)[points]]
        game.play(int(rng.choice(points)) if len(points) else size * size)
    yield game, game.legal()


# Known positions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "point"),
    [
        ((".O...", "O....", ".....", ".....", "....."), 0),
        (("X.O..", "OO...", ".....", ".....", "....."), 1),  # with the stone beside it
    ],
)
def test_suicide_is_illegal_of_one_stone_and_of_two(rows, point):
    game = position(*rows)
    assert not game.legal()[point]
    with pytest.raises(ValueError, match="illegal move"):
        game.play(point)
    game.to_move = WHITE
    assert game.legal()[point]


def test_what_looks_like_suicide_may_capture():
    game = position(".OX..", "OX...", "X....", ".....", ".....")
    assert game.legal()[0]
    game.play(0)
    assert (game.board[:25] == board("X.X..", ".X...", "X....", ".....", ".....")[:25]).all()


def test_ko_may_be_retaken_only_after_a_threat():
    game = position(".XO..", "X.XO.", ".XO..", ".....", ".....", to_move=WHITE)
    game.play(6)  # takes the stone at 7
    assert game.board[7] == 0 and game.board[6] == WHITE
    assert not game.legal()[7]
    game.play(24)
    game.play(20)
    assert game.legal()[7]


def test_sending_two_and_getting_one_back_is_superko():
    """No simple ko: Black's second stone and the first are taken, then Black takes one: the board of two moves ago."""
    game = position(".X.X.", "OOX..", ".....", ".....", ".....")
    game.play(0)
    game.play(2)
    assert game.board[[0, 1, 2]].tolist() == [0, 0, WHITE]
    assert not game.legal()[1]
    game.play(24)
    game.play(20)
    assert game.legal()[1]


def test_area_of_a_lone_stone_is_the_whole_board():
    for size in (5, 9, 19):
        game = Game(size)
        for move in (size * size // 2, size * size, size * size):
            game.play(move)
        assert game.is_over and game.score() == size * size - 7.5


def test_dead_stones_in_unconditional_territory_count_as_dead():
    rows = (".X.X.", "XXXXX", ".....", ".....", ".....")
    assert counted(board(*rows)) == 25
    with_guest = board(".XOX.", "XXXXX", ".....", ".O...", ".....")
    alive, owned = settled(with_guest)
    assert not alive
    assert owned.reshape(5, 5)[:2].tolist() == [[1] * 5] * 2  # the guest is dead
    assert owned.reshape(5, 5)[2:].tolist() == [[0] * 5] * 3
    assert counted(with_guest) == 10 - 1  # and the one outside alive, by itself


def test_one_eye_is_not_alive_and_two_are():
    one = settled(board("X.XO.", "XXXO.", "OOOO.", ".....", "....."))[1].reshape(5, 5)
    assert (one != BLACK).all()
    two = settled(board("X.X.X", "XXXXX", "OOOOO", "O.O.O", "OOOOO"))
    assert two[0] and two[1].tolist() == [1] * 10 + [-1] * 15


def test_a_region_is_alive_with_one_inner_point_and_not_with_two():
    """A plus of five points, of which the middle is no liberty; then wider, with one such point and with two."""
    plus = ("X.X.XXX", "XXXXXXX", "XXXOXXX", "XX...XX", "XXX.XXX", "XXXXXXX", "XXXXXXX")
    assert settled(board(*plus))[0] and counted(board(*plus)) == 49
    wide = ("X.X.XXX", "XXXXXXX", "XX..XXX", "X..O.XX", "XX..XXX", "XXX.XXX", "XXXXXXX")
    alive, owned = settled(board(*wide))
    assert alive and owned[3 * 7 + 3] == BLACK
    wider = ("X.X.XXX", "XXXXXXX", "XX..XXX", "X....XX", "XX..XXX", "XXOXXXX", "XXXXXXX")
    alive, owned = settled(board(*wider))
    assert not alive and owned[5 * 7 + 2] == 0 and counted(board(*wider)) == 49 - 9 - 1


def test_a_chain_that_is_given_up_takes_along_only_regions_of_its_liberties():
    """Black's stone in the upper row has one liberty, at its right; the other region has none."""
    drawn = board("XXOX.", "XX.OX", "XXXXX", "XXXXX", ".OXXX")
    alive, owned = settled(drawn)
    assert not alive
    assert owned.reshape(5, 5)[4, :2].tolist() == [BLACK] * 2  # alive, by this region and the one above
    assert owned.reshape(5, 5)[0, 2:].tolist() == [0] * 3
    assert counted(drawn) == 22 - 2


@pytest.mark.skipif(not POSITIONS.exists(), reason=f"{POSITIONS} is not there")
def test_scores_and_settled_boards_are_those_of_the_reference():
    wrong = []
    for line in POSITIONS.read_text().splitlines():
        expected = json.loads(line)
        drawn = board(*expected["board"])
        if (counted(drawn) - 7.5, settled(drawn)[0]) != (expected["score"], expected["all_alive"]):
            wrong.append(expected)
    assert not wrong


def test_neutral_points_belong_to_nobody():
    assert counted(board("XX.OO", "XX.OO", "XX.OO", "XX.OO", "XX.OO")) == 0
    assert counted(board("XXX.O", "XXX.O", "XXX.O", "XXX.O", "XXX.O")) == 10


# Properties ------------------------------------------------------------------------------------------------


def plain_legal(drawn: list[int], size: int, point: int, colour: int, seen: set) -> list[int] | None:
    """The board after a move, by the letter of the rules and slowly; None if it is illegal."""
    after = list(drawn)
    if after[point]:
        return None
    after[point] = colour
    for mover in (-colour, colour):
        for start in range(size * size):
            chain, free = {start}, False
            waiting = [start] if after[start] == mover else []
            while waiting:
                at = waiting.pop()
                row, column = divmod(at, size)
                for near in (at - size, at + size, at - 1, at + 1):
                    if not 0 <= near < size * size or (abs(near - at) == 1 and near // size != row):
                        continue
                    free |= after[near] == 0
                    if after[near] == mover and near not in chain:
                        chain.add(near)
                        waiting.append(near)
            if after[start] == mover and not free:
                if mover == colour:
                    return None
                for stone in chain:
                    after[stone] = 0
    return None if tuple(after) in seen else after


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32))
def test_moves_are_those_of_a_plain_engine(size, seed):
    rng = np.random.default_rng(seed)
    seen = {(0,) * (size * size)}
    for game, legal in random_game(size, rng, 3 * size * size):
        drawn = game.board[:-1].tolist()
        seen.add(tuple(drawn))
        expected = [plain_legal(drawn, size, point, game.to_move, seen) for point in range(size * size)]
        assert legal[:-1].tolist() == [after is not None for after in expected]
        for point in np.flatnonzero(legal[:-1])[:2]:
            trial = Game(size)
            trial.board[:], trial.to_move = game.board, game.to_move
            trial.play(int(point))
            assert trial.board[:-1].tolist() == expected[point]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(0, 2**32), st.integers(0, 7))
def test_a_turned_game_is_the_same_game(size, seed, symmetry):
    source = geometry(size).symmetries[symmetry]
    twin = Game(size)
    for game, legal in random_game(size, np.random.default_rng(seed), 2 * size * size):
        if game.moves:
            move = game.moves[-1]
            twin.play(move if move == size * size else int(np.flatnonzero(source == move)[0]))
        assert (twin.board[:-1] == game.board[source]).all()
        assert (twin.legal()[:-1] == legal[source]).all()
    assert twin.score() == game.score()


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 9), st.integers(0, 2**32))
def test_positions_keep_their_keys_and_chains_their_liberties(size, seed):
    go, chains = geometry(size), empty_chains(size)
    seen = set()
    for game, _ in random_game(size, np.random.default_rng(seed), 3 * size * size):
        drawn = game.board[:-1]
        stones = np.flatnonzero(drawn)
        key = np.bitwise_xor.reduce(go.zobrist[(drawn[stones] == BLACK).astype(int), stones], initial=0)
        assert key == game._key
        assert not game.moves or game.moves[-1] == size * size or drawn.tobytes() not in seen
        seen.add(drawn.tobytes())
        find_chains(game.board, go, chains)
        for stone in stones:
            members = np.flatnonzero(chains.labels[:-1] == chains.labels[stone])
            around = set(go.neighbours[members].ravel().tolist()) - {size * size}
            assert chains.liberties[chains.labels[stone]] == sum(drawn[point] == 0 for point in around) > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 7), st.integers(0, 2**32))
def test_colours_swapped_the_area_is_the_negative(size, seed):
    for game, _ in random_game(size, np.random.default_rng(seed), 3 * size * size, keep_eyes=True):
        swapped = game.board.copy()
        swapped[:-1] *= -1
        assert counted(swapped) == -counted(game.board)
        assert abs(counted(game.board)) <= size * size


def joined(points: set, go) -> list[set]:
    """The connected parts of a set of points."""
    parts, left = [], set(points)
    while left:
        part = waiting = {left.pop()}
        while waiting:
            waiting = {near for point in waiting for near in go.neighbours[point].tolist()} & left
            left -= waiting
            part = part | waiting
        parts.append(part)
    return parts


def plain_alive(drawn: list[int], go, colour: int) -> set:
    """The points of alive regions, by the letter of the definition and slowly."""
    around = [set(near) - {len(drawn)} for near in go.neighbours.tolist()]
    empty = {point for point, stone in enumerate(drawn) if stone == 0}
    chains = joined({point for point, stone in enumerate(drawn) if stone == colour}, go)
    liberties = [set().union(*(around[stone] for stone in chain)) & empty for chain in chains]
    regions = joined({point for point, stone in enumerate(drawn) if stone != colour}, go)
    left, kept = set(range(len(chains))), list(regions)
    while dead := {chain for chain in left if sum(part & empty <= liberties[chain] for part in kept) < 2}:
        left -= dead
        kept = [part for part in kept if not any(part & liberties[chain] for chain in dead)]
    found = set()
    for part in regions:
        beside = {
            chain for chain, stones in enumerate(chains) if any(around[point] & stones for point in part)
        }
        inner = (part & empty) - set().union(*liberties)
        if beside and beside <= left and len(inner) <= 1:
            found |= part
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 7), st.integers(0, 2**32))
def test_what_is_alive_is_so_by_a_plain_implementation(size, seed):
    go = geometry(size)
    *_, (game, _) = random_game(size, np.random.default_rng(seed), 3 * size * size, keep_eyes=True)
    drawn = game.board[:-1].tolist()
    black, white = (plain_alive(drawn, go, colour) for colour in (BLACK, WHITE))
    alive, owned = settled(game.board)
    for point, stone in enumerate(drawn):
        whose = WHITE if point in white else BLACK if point in black else 0
        assert owned[point] == whose or (whose == 0 and owned[point] == stone)
    assert alive == all(stone or point in black | white for point, stone in enumerate(drawn))


# GNU Go ----------------------------------------------------------------------------------------------------

needs_gnugo = pytest.mark.skipif(GNUGO is None, reason="gnugo is not installed")


@needs_gnugo
@pytest.mark.slow
@pytest.mark.parametrize(("size", "games"), [(5, 800), (7, 150), (9, 50)])
def test_gnu_go_agrees_about_legality_and_boards(size, games):
    """A thousand random games in all; three points are asked about before each move, and every point after captures."""
    rng = np.random.default_rng(size)
    refused = 0
    with engine((GNUGO, *GNU_GO[1:]), size) as referee:
        for _ in range(games):
            referee.ask("clear_board")
            stones = 0
            for game, legal in random_game(size, rng, 3 * size * size):
                if game.moves:
                    referee.play(-game.to_move, game.moves[-1])
                empty = np.flatnonzero(game.board[:-1] == 0)
                captured = len(empty) + stones >= size * size
                stones = size * size - len(empty)
                asked = empty if captured else rng.permutation(empty)[:3]
                assert referee.are_legal(game.to_move, asked) == legal[asked].tolist()
                refused += int((~legal[asked]).sum())
            assert stones_of(referee) == game.board[:-1].tolist()
    assert refused > 10 * games // 8


def stones_of(referee) -> list[int]:
    """The referee's board."""
    found = [0] * referee.size**2
    for colour, name in ((BLACK, "black"), (WHITE, "white")):
        for vertex in referee.ask(f"list_stones {name}")[0].split():
            found[referee.move(vertex)] = colour
    return found


@needs_gnugo
def test_gnu_go_agrees_about_the_score_of_settled_positions():
    rng = np.random.default_rng(3)
    agreed = 0
    with engine((GNUGO, *GNU_GO[1:]), 5) as referee:
        while agreed < 30:
            referee.ask("clear_board")
            for game, _ in random_game(5, rng, 75, keep_eyes=True):
                if game.moves:
                    referee.play(-game.to_move, game.moves[-1])
            if settled(game.board)[0]:
                winner, _, points = referee.ask("final_score")[0].partition("+")
                assert float(points) * (1 if winner == "B" else -1) == game.score()
                agreed += 1
