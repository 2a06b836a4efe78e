"""The tree search against values worked out by hand, and what self-play and matches make of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from octathlon import config
from octathlon.benchmarks.minigo import compiled, puct, tree, turns
from octathlon.benchmarks.minigo.area import all_pass_alive
from octathlon.benchmarks.minigo.features import find_legal, write_planes
from octathlon.benchmarks.minigo.game import Game
from octathlon.benchmarks.minigo.match import play_match
from octathlon.benchmarks.minigo.rules import BLACK, WHITE, empty_chains, geometry
from octathlon.benchmarks.minigo.search import Search
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.datasets.minigo_models.rows import unpack_planes

POINTS = 25


def settings(**over):
    return config.resolve("benchmarks", "minigo", "mini", {"keep_eyes": False, **over})


def constant(value: float = 0.0, points: int = POINTS, pass_logit: float = 0.0):
    """A network that says the same of every position."""

    def evaluate(planes):
        logits = np.zeros((len(planes), points + 1), np.float32)
        logits[:, -1] = pass_logit
        return logits, np.full(len(planes), value, np.float32)

    return evaluate


def hashed(planes):
    """A network whose answers depend on what it sees, and on nothing else."""
    seed = planes.reshape(len(planes), -1).astype(np.int64) @ np.arange(1, planes[0].size + 1) ** 2 % 10007
    logits = np.sin(seed[:, None] * (1 + np.arange(planes.shape[-1] ** 2 + 1)))
    return logits.astype(np.float32), np.cos(seed).astype(np.float32) / 2


def searched(readouts: int, evaluate=None, **over) -> Search:
    """One game's search from the empty board."""
    search = Search(settings(readouts=readouts, **over), 1, evaluate or constant())
    search.reset(0, 7)
    while search.trees.visits[0, 0] < readouts:
        search.grow(np.array([True]))
    return search


def visits(search: Search) -> list[int]:
    counts = np.zeros(search.trees.priors.shape[2], np.int64)
    turns.root_visits(search.trees, 0, counts)
    return counts.tolist()


def children_of(trees, node: int) -> np.ndarray:
    """Each action's node below a node of the first game; 0: none."""
    nodes = np.zeros(trees.priors.shape[2], np.int64)
    for child in range(1, trees.counts[0]):
        if trees.parents[0, child] == node:
            nodes[trees.moves[0, child]] = child
    return nodes


# The tree --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_equal_priors_and_values_are_visited_equally_often(rounds):
    """Passing is masked: keep_eyes forbids it while there are other moves."""
    search = searched(1 + POINTS * rounds, virtual_losses=1, value_init_penalty=0, keep_eyes=True)
    assert visits(search) == [rounds] * POINTS + [-1]


def test_penalty_stays_in_the_first_values():
    search = searched(27, virtual_losses=1, value_init_penalty=0.2, keep_eyes=True)
    counts = visits(search)[:-1]
    assert sum(counts) == 26 and 0 <= min(counts) < max(counts) <= 4
    children = children_of(search.trees, 0)[:-1]
    assert np.allclose(search.trees.totals[0, children[children > 0]], -0.2)


def test_virtual_losses_leave_nothing_behind_and_overshoot_by_less_than_their_number():
    search = searched(40, virtual_losses=4, value_init_penalty=0)
    count = search.trees.counts[0]
    assert (search.trees.totals[0, :count] == 0).all() and (search.trees.losses[0, :count] == 0).all()
    assert search.trees.visits[0, 0] == 41  # the root alone, then ten times four


@pytest.mark.parametrize(("moves", "pass_logit"), [([12], 10.0), ([12, POINTS], 0.0)])
def test_ends_of_the_game_bring_a_search_to_its_goal_and_not_beyond(moves, pass_logit):
    search = Search(settings(readouts=260, virtual_losses=4), 1, constant(pass_logit=pass_logit))
    search.reset(0, 7)
    for move in moves:
        tree.advance(search.trees, search.go, search.chains, 0, move, 75, False)
    search.goals[0] = 260
    while search.trees.visits[0, 0] < 260:
        search.grow(np.array([True]))
    assert search.trees.visits[0, 0] == 260
    search.grow(np.array([True]))
    assert search.trees.visits[0, 0] == 260 and not search.trees.losses[0].any()


def test_leaves_of_one_batch_differ():
    search = Search(settings(virtual_losses=4, value_init_penalty=0), 1, constant())
    search.reset(0, 7)
    search.grow(np.array([True]))
    search.grow(np.array([True]))
    assert sorted(visits(search))[-5:] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("moves", "value", "expected"), [(0, 0.5, 0.3), (1, 0.5, 0.7), (0, -0.95, -1.0), (1, 0.95, 1.0)]
)
def test_first_values_are_worse_than_the_parent_for_the_player_to_move(moves, value, expected):
    search = Search(settings(value_init_penalty=0.2), 1, constant(value))
    search.reset(0, 7)
    for move in range(moves):
        tree.advance(search.trees, search.go, search.chains, 0, move, 75, False)
    search.grow(np.array([True]))
    assert search.trees.first[0, 0] == pytest.approx(expected)


def test_exploration_at_no_visits():
    assert puct.exploration(0) == pytest.approx(2 * (math.log(19653 / 19652) + 1.25))
    assert puct.exploration(0) == pytest.approx(2.5001, abs=1e-4)


def test_selection_is_the_formula():
    """The move that a search chooses next, computed from the tree with plain Python."""
    search = searched(60, hashed, virtual_losses=1)
    trees, root = search.trees, search.trees.visits[0, 0]
    scores = []
    for action in range(POINTS + 1):
        child = children_of(trees, 0)[action]
        total = trees.totals[0, child] if child else trees.first[0, 0]
        tried = trees.visits[0, child] if child else 0
        factor = 2 * (math.log((1 + root + 19652) / 19652) + 1.25)
        bonus = factor * math.sqrt(root - 1) * trees.priors[0, 0, action] / (1 + tried)
        scores.append(total / (1 + tried) + bonus)
    assert puct.best_action(trees, 0, 0) == int(np.argmax(scores))


def test_values_and_visits_add_up():
    search = searched(200, hashed)
    trees, count = search.trees, search.trees.counts[0]
    for node in range(count):
        if trees.states[0, node] == tree.EXPANDED:
            children = children_of(trees, node)
            children = children[children > 0]
            assert trees.visits[0, node] == 1 + trees.visits[0, children].sum()
            assert (trees.parents[0, children] == node).all() and (children > node).all()


def test_a_search_finds_the_move_that_wins():
    """Black may take seven stones in atari, or else loses them; the value is that of the finished game only."""
    search = Search(settings(max_moves=11, readouts=80), 1, constant())
    search.reset(0, 3)
    for move in (5, 0, 6, 1, 7, 2, 8, 3, 24, 23):
        tree.advance(search.trees, search.go, search.chains, 0, move, 11, False)
    while search.trees.visits[0, 0] < 80:
        search.grow(np.array([True]))
    assert int(np.argmax(visits(search))) == 4  # captures White's four: the game is scored after this move


# Features --------------------------------------------------------------------------------------------------


def planes_after(moves: list[int], size: int = 5, source: np.ndarray | None = None) -> np.ndarray:
    search = Search(settings(board_size=size), 1, constant(points=size * size))
    search.reset(0, 1)
    for move in moves:
        tree.advance(search.trees, search.go, search.chains, 0, move, 75, False)
    legal, chains = np.zeros(size * size + 1, np.int8), empty_chains(size)
    planes = np.zeros((13, size * size), np.uint8)
    find_legal(search.trees, search.go, chains, 0, 0, False, legal)
    source = search.go.symmetries[0] if source is None else source
    write_planes(search.trees, search.go, chains, 0, 0, legal, source, planes)
    return planes


def test_an_empty_board_shows_only_who_is_to_move():
    planes = planes_after([])
    assert planes[8].all() and planes.sum() == POINTS


def test_planes_after_four_moves():
    """Black 1, White 0 (in atari), Black 24, White 12: Black is to move and may take the corner."""
    planes = planes_after([1, 0, 24, 12])
    points = [np.flatnonzero(plane).tolist() for plane in planes]
    assert points[:8] == [[1, 24], [0, 12], [1, 24], [0], [1], [0], [1], []]
    assert points[8] == list(range(POINTS))
    assert points[9:] == [[0], [1, 24], [12], [5]]
    for source in geometry(5).symmetries:
        assert (planes_after([1, 0, 24, 12], source=source) == planes[:, source]).all()


# Turns -----------------------------------------------------------------------------------------------------


def test_pruning_keeps_the_best_and_only_cuts():
    search = searched(200, hashed, noise_weight=0)
    before = np.array(visits(search))
    best = turns.most_visited(search.trees, 0, before)
    after = before.copy()
    turns.prune(search.trees, 0, after, best)
    assert after[best] == before[best] and (after <= before).all() and (after < before).any()
    trees, root = search.trees, search.trees.visits[0, 0]
    scale = puct.exploration(root)
    score = turns.action_score(trees, 0, best)
    for action in np.flatnonzero(before > 0):
        value = trees.totals[0, children_of(trees, 0)[action]] / (1 + before[action])
        if action != best and value < score:
            explained = -scale * trees.priors[0, 0, action] * math.sqrt(root) / (value - score)
            assert after[action] == min(int(explained), before[action])


def test_drawn_moves_never_pass_unless_nothing_else_was_tried():
    counts = np.array([3, 0, 1, 900], np.int64)
    drawn = {turns.draw_point(counts, fraction) for fraction in np.linspace(0, 0.999, 50)}
    assert drawn == {0, 2}
    assert turns.draw_point(np.array([0, 0, 0, 5], np.int64), 0.5) == 3
    share = np.mean([turns.draw_point(counts, fraction) == 0 for fraction in np.linspace(0, 0.9999, 10000)])
    assert share == pytest.approx(3**0.98 / (3**0.98 + 1), abs=1e-3)


def test_a_player_who_is_lost_resigns():
    for value, winner in ((-0.97, WHITE), (-0.5, 0)):
        search = searched(20, constant(value))
        table = turns.lay(1, 5, 75, 75)
        table.resign_at[0] = -0.9
        move = turns.take_turn(search.trees, search.go, search.chains, table, 0, 0, 0.0, False)
        assert (move == turns.RESIGN) == (winner == WHITE)


TWO_EYES = (1, 3, 5, 6, 7, 8, 9)
"""Black's stones: the first row's other points are eyes."""


def before_two_eyes(evaluate, **over) -> tuple[Search, turns.Table]:
    """Black to move after a search, with two eyes, after White has passed seven times."""
    search = Search(settings(readouts=60, **over), 1, evaluate)
    table = turns.lay(1, 5, 75, 75)
    search.reset(0, 1)
    for point in TWO_EYES:
        for move in (point, POINTS):
            turns.play(search.trees, search.go, search.chains, table, 0, move, 75, False)
    assert table.streaks[0].tolist() == [7, 0]
    while search.trees.visits[0, 0] < 60:
        search.grow(np.array([True]))
    return search, table


def fond_of_eyes(logit: float):
    """A network that likes empty points with stones on all sides, whichever way the board is turned, and no pass."""

    def evaluate(planes):
        stones = np.pad(planes[:, 0] | planes[:, 1], ((0, 0), (1, 1), (1, 1)), constant_values=1)
        eyes = stones[:, :-2, 1:-1] & stones[:, 2:, 1:-1] & stones[:, 1:-1, :-2] & stones[:, 1:-1, 2:]
        eyes &= 1 - stones[:, 1:-1, 1:-1]
        logits = np.full((len(planes), POINTS + 1), -9, np.float32)
        logits[:, :-1] = logit * eyes.reshape(len(planes), POINTS)
        return logits, np.zeros(len(planes), np.float32)

    return evaluate


def test_after_four_passes_settled_points_are_left_alone():
    search, table = before_two_eyes(constant())
    counts = np.array(visits(search), np.int64)
    turns.leave_settled(search.trees, search.go, search.chains, 0, counts)
    assert counts[[0, 2, 4]].tolist() == [-1] * 3 and (counts[10:25] >= 0).all()
    move = turns.take_turn(search.trees, search.go, search.chains, table, 0, 0, 0.0, False)
    assert move >= 10


@pytest.mark.parametrize("draw_moves", [0, 75])
def test_if_all_visits_are_in_settled_points_the_pass_gets_one(draw_moves):
    """Drawn moves are not restricted; others go where nothing was tried."""
    search, table = before_two_eyes(fond_of_eyes(40.0))
    tried = np.array(visits(search))
    assert tried[[0, 2, 4]].sum() == 59
    table.full[0] = True
    move = turns.take_turn(search.trees, search.go, search.chains, table, 0, draw_moves, 0.3, False)
    assert table.policies[0, 0].tolist() == [0.0] * POINTS + [1.0]
    assert move in (0, 2, 4) if draw_moves else move >= 10


def test_pruning_of_restricted_choices_goes_by_the_best_of_all():
    search, table = before_two_eyes(fond_of_eyes(1.5), virtual_losses=1)
    trees, before = search.trees, np.array(visits(search))
    best = turns.most_visited(trees, 0, before)
    assert best in (0, 2, 4) and before[10:25].sum() > 3
    trees.priors[0, 0, 10:20] /= 4  # as if noise had made the search try these points
    root, score = trees.visits[0, 0], turns.action_score(trees, 0, best)
    expected = np.zeros(POINTS + 1)
    for action in np.flatnonzero(before > 0):
        gap = trees.totals[0, children_of(trees, 0)[action]] / (1 + before[action]) - score
        explained = -puct.exploration(root) * trees.priors[0, 0, action] * math.sqrt(root) / gap
        if action >= 10:
            expected[action] = max(min(int(explained), before[action]), 0)
    assert 0 < expected.sum() < before[10:].sum()
    table.full[0] = True
    turns.take_turn(trees, search.go, search.chains, table, 0, 0, 0.0, False)
    assert np.allclose(table.policies[0, 0], expected / expected.sum())


def test_a_drawn_move_goes_on_with_the_visits_that_pruning_left():
    search = searched(200, hashed)
    table = turns.lay(1, 5, 75, 75)
    table.full[0] = True
    before = np.array(visits(search), np.int64)
    best, pruned = turns.most_visited(search.trees, 0, before), before.copy()
    turns.prune(search.trees, 0, pruned, best)
    share = before[:POINTS] ** 0.98
    wanted = int(np.argmax((before - pruned)[:POINTS]))
    assert pruned[wanted] < before[wanted] and wanted != best
    fraction = (share[:wanted].sum() + share[wanted] / 2) / share.sum()
    total = search.trees.totals[0, children_of(search.trees, 0)[wanted]]
    move = turns.take_turn(search.trees, search.go, search.chains, table, 0, 75, fraction, False)
    assert move == wanted
    turns.play(search.trees, search.go, search.chains, table, 0, move, 75, True)
    assert (search.trees.visits[0, 0], search.trees.totals[0, 0]) == (pruned[wanted], total)
    readouts = np.array([5, 9], np.int32)
    turns.begin_search(
        search.trees, search.goals, table, 0, readouts, False, np.zeros(POINTS + 1, np.float32)
    )
    assert search.goals[0] == pruned[wanted] + 5


def test_tree_is_kept_below_the_move():
    search = searched(150, hashed, eval_readouts=100)
    trees = search.trees
    move = int(np.argmax(visits(search)))
    child = children_of(trees, 0)[move]
    kept, total = trees.visits[0, child], trees.totals[0, child]
    grandchildren = [trees.visits[0, node] for node in children_of(trees, child) if node]
    tree.advance(trees, search.go, search.chains, 0, move, 75, True)
    assert (trees.visits[0, 0], trees.totals[0, 0]) == (kept, total)
    assert [trees.visits[0, node] for node in children_of(trees, 0) if node] == grandchildren
    assert trees.counts[0] < kept + 6
    while trees.visits[0, 0] < kept + 50:
        search.grow(np.array([True]))
    children = children_of(trees, 0)
    children = children[children > 0]
    assert trees.visits[0, 0] == 1 + trees.visits[0, children].sum()


# Self-play -------------------------------------------------------------------------------------------------


def test_self_play_repeats_itself_for_a_seed():
    few = settings(concurrent_games=4, keep_eyes=True)
    first, again, other = (play_games(few, hashed, 6, [seed]) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert np.unique(first["game"]).tolist() == list(range(6))


def test_records_are_distributions_over_legal_moves_of_finished_games():
    rows = play_games(settings(keep_eyes=True), hashed, 8, [3])
    assert np.allclose(rows["policy"].sum(1), 1, atol=1e-5) and (rows["policy"] >= 0).all()
    planes = unpack_planes(rows, 5)
    stones = planes[:, 0] | planes[:, 1]
    assert (rows["policy"][:, :-1][stones == 1] == 0).all()
    assert set(np.unique(rows["outcome"])) <= {-1, 1}
    for game in range(8):
        assert len(np.unique(rows["outcome"][rows["game"] == game])) == 1
    black = planes[:, 8, 0]
    turns_of_first = black[rows["game"] == 0]
    assert (turns_of_first[::2] == 1).all() and (turns_of_first[1::2] == 0).all()


def test_a_quarter_of_the_moves_is_recorded_and_every_first_one():
    over = {"full_share": 0.25, "readouts": 8, "fast_readouts": 2, "keep_eyes": True, "concurrent_games": 100}
    games = 200
    rows = play_games(settings(**over), hashed, games, [5])
    empty = unpack_planes(rows, 5)[:, :2].sum(axis=(1, 2)) == 0
    assert empty.sum() == games  # the first move of each
    lengths = play_games(settings(**over | {"full_share": 1.0, "readouts": 2}), hashed, games, [5])
    share = (len(rows) - games) / (len(lengths) - games)
    assert share == pytest.approx(0.25, abs=0.04)


def test_resignation_is_off_in_the_games_held_out():
    """All games end at the first move of Black, who is always lost, or go on to the end."""
    over = {"resign_from": -0.5, "keep_eyes": True, "concurrent_games": 40}
    for holdout, least, most in ((0.0, 40, 40), (1.0, 0, 0), (0.5, 10, 30)):
        rows = play_games(settings(**over, resign_holdout=holdout), constant(-5), 40, [2])
        played = len(np.unique(rows["game"]))
        assert least <= 40 - played <= most


def test_noise_changes_the_priors_by_its_part():
    search = Search(settings(noise_weight=0.3, virtual_losses=1), 1, constant())
    search.reset(0, 1)
    noise = np.arange(1, POINTS + 2, dtype=np.float32)
    search.trees.noise[0], search.trees.noisy[0] = noise, True
    search.grow(np.array([True]))
    assert np.allclose(search.trees.priors[0, 0], 0.7 / 26 + 0.3 * noise / noise.sum())
    assert not search.trees.noisy[0]


# Matches ---------------------------------------------------------------------------------------------------


def test_a_model_against_itself_wins_exactly_half_if_nothing_differs():
    """A network without a sense of direction makes all games of a pair the same: each colour wins always or never."""
    games = play_match(settings(keep_eyes=True, target_readouts=24), constant(), constant(), range(4), 1)
    assert [game.number for game in games] == [0, 1, 2, 3]
    assert sum(game.won for game in games) == 2


def test_games_of_a_match_differ_and_repeat_themselves():
    few = settings(keep_eyes=True)
    first, again = (play_match(few, hashed, constant(), range(6), 4) for _ in range(2))
    assert first == again
    assert len({tuple(game.moves) for game in first}) > 1
    shares = [
        *play_match(few, hashed, constant(), range(2), 4),
        *play_match(few, hashed, constant(), range(2, 6), 4),
    ]
    assert shares == first  # the same games, whoever plays them


def test_no_player_of_a_match_enters_settled_areas():
    games = play_match(settings(eval_readouts=8, target_readouts=8), hashed, hashed, range(20), 3)
    chains, owned, left = empty_chains(5), np.zeros(POINTS, np.int8), 0
    for played in games:
        game = Game(5)
        for move in played.moves:
            all_pass_alive(game.board, geometry(5), chains, owned)
            open_points = np.flatnonzero(game.legal()[:-1] & (owned == 0))
            left += game.legal()[:-1].sum() - len(open_points)
            assert move == POINTS or move in open_points
            game.play(move)
    assert left > 20  # legal moves that were not made


def stones(planes):
    """A network that counts stones."""
    flat = planes.reshape(len(planes), 13, -1).astype(int)
    more = (flat[:, 0] - flat[:, 1]).sum(1) * np.where(flat[:, 8, 0] == 1, 1, -1)
    return np.zeros((len(planes), POINTS + 1), np.float32), np.tanh(more / 5).astype(np.float32)


def test_a_player_who_sees_more_wins():
    few = settings(keep_eyes=True, eval_readouts=60, target_readouts=1, value_init_penalty=0.0)
    games = play_match(few, stones, stones, range(20), 1)
    assert sum(game.won for game in games) >= 15


def test_symmetries_differ_from_game_to_game():
    go = geometry(5)
    assert len({tuple(symmetry) for symmetry in go.symmetries.tolist()}) == 8
    found = set()
    for salt in range(100):
        search = Search(settings(), 1, constant())
        search.reset(0, salt << 40)
        search.grow(np.array([True]))
        found.add(int(search._found[0, 2]))
    assert found == set(range(8))
    assert BLACK == 1


def test_machine_code_is_kept_by_the_state_of_all_kernels():
    folder = Path(compiled.__file__).parent
    assert {path.name for path in folder.glob("*.py") if "\n@kernel\n" in path.read_text()} == set(
        compiled.KERNELS
    )
