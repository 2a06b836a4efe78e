"""What a player does with a finished search: resign or choose a move, and what a game leaves for training. Kernels.

Reference: minigo, cc/mcts_player.cc, cc/mcts_tree.cc, cc/concurrent_selfplay.cc.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from octathlon.benchmarks.minigo.area import all_pass_alive, area
from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.features import PLANES, find_legal, write_planes
from octathlon.benchmarks.minigo.puct import exploration
from octathlon.benchmarks.minigo.rules import BLACK, EMPTY, KOMI
from octathlon.benchmarks.minigo.tree import EXPANDED, OVER, ROOT, advance, child_of, clear

RESIGN = -1
TEMPERATURE = 0.98
"""Exponent of the visits while moves are drawn."""
PASSES = 4
"""After so many passes in a row of the opponent, no more stones in settled areas."""


class Table(NamedTuple):
    """What is known of each game beside its tree; arrays have the shape (games, ...) where nothing else is said."""

    full: np.ndarray
    """Whether this move's search is a full one, whose result is recorded."""
    resign_at: np.ndarray
    """The player to move resigns below this value."""
    streaks: np.ndarray
    """Passes in a row of White and Black, int32 of shape (games, 2)"""
    winners: np.ndarray
    """1, -1 or, while the game goes on, 0."""
    moves: np.ndarray
    """int16 of shape (games, most moves)"""
    planes: np.ndarray
    """Recorded positions, uint8 of shape (most records, games, 13 * points): all first ones, then the second ones, so
    that what is in use lies together. The rest, for games longer than any, then takes no memory, also where the
    system gives it out in large pages."""
    policies: np.ndarray
    """Recorded visits, float32 of shape (most records, games, points + 1)"""
    records: np.ndarray
    """How many are recorded."""


def lay(games: int, size: int, max_moves: int, records: int) -> Table:
    """A table for games with at most so many moves and recorded moves."""
    points = size * size
    return Table(
        full=np.zeros(games, np.bool_),
        resign_at=np.full(games, -np.inf),
        streaks=np.zeros((games, 2), np.int32),
        winners=np.zeros(games, np.int8),
        moves=np.zeros((games, max_moves), np.int16),
        planes=np.zeros((records, games, PLANES * points), np.uint8),
        policies=np.zeros((records, games, points + 1), np.float32),
        records=np.zeros(games, np.int32),
    )


@kernel
def sit_down(table, game, resign_at):
    """Begin a game in the table."""
    table.streaks[game] = 0
    table.winners[game] = 0
    table.records[game] = 0
    table.resign_at[game] = resign_at


@kernel
def action_score(trees, game, action):
    """An action's value and bonus at the root, as ties are broken: with sqrt(1 + visits)."""
    child = child_of(trees, game, ROOT, action)
    total = trees.totals[game, child] if child else trees.first[game, 0]
    tried = trees.visits[game, child] if child else 0
    visits = trees.visits[game, 0]
    bonus = exploration(visits) * np.sqrt(1.0 + visits) * trees.priors[game, 0, action]
    return (trees.to_move[game, 0] * total + bonus) / (1.0 + tried)


@kernel
def root_visits(trees, game, visits):
    """How often each action of the root was tried; -1: it may not be played."""
    visits[:] = 0
    child = trees.youngest[game, 0]
    while child:
        visits[trees.moves[game, child]] = trees.visits[game, child]
        child = trees.elders[game, child]
    for action in range(len(visits)):
        if trees.priors[game, 0, action] < 0:
            visits[action] = -1


@kernel
def most_visited(trees, game, visits):
    """The action with the most visits, ties by score; -1 if none may be played."""
    best, best_score = -1, -np.inf
    for action in range(len(visits)):
        if visits[action] < 0 or (best >= 0 and visits[action] < visits[best]):
            continue
        score = action_score(trees, game, action)
        if best < 0 or visits[action] > visits[best] or score > best_score:
            best, best_score = action, score
    return best


@kernel
def draw_point(visits, fraction):
    """A board point drawn by visits ** TEMPERATURE; the pass if no point was tried. `fraction` is in [0, 1)."""
    points = len(visits) - 1
    total = 0.0
    for point in range(points):
        if visits[point] > 0:
            total += visits[point] ** TEMPERATURE
    left = fraction * total
    chosen = points
    for point in range(points):
        if visits[point] > 0:
            chosen = point
            left -= visits[point] ** TEMPERATURE
            if left < 0:
                break
    return chosen


@kernel
def prune(trees, game, visits, best):
    """Cut each other action's visits to the least that its value explains: noise made the search try it more often."""
    total = trees.visits[game, 0]
    scale = exploration(total)
    best_score = action_score(trees, game, best)
    for action in range(len(visits)):
        if action == best or visits[action] <= 0:
            continue
        child = child_of(trees, game, ROOT, action)
        value = trees.to_move[game, 0] * trees.totals[game, child] / (1.0 + visits[action])
        gap = value - best_score
        explained = (
            -(scale * trees.priors[game, 0, action] * np.sqrt(float(total))) / gap if gap != 0 else 0.0
        )
        visits[action] = int(min(max(explained, 0.0), float(visits[action])))


@kernel
def leave_settled(trees, go, chains, game, visits):
    """Take the points that are alive out of the choice."""
    owned = np.empty(len(visits) - 1, np.int8)
    all_pass_alive(trees.boards[game, 0], go, chains, owned)
    for point in range(len(owned)):
        if owned[point] != EMPTY:
            visits[point] = -1


@kernel
def leave_out(visits, allowed):
    """Set the visits of moves that may not be chosen to 0; if none are left then, the pass gets one."""
    left = 0
    for action in range(len(visits)):
        if allowed[action] < 0:
            visits[action] = 0
        left += visits[action]
    if left == 0:
        visits[-1] = 1


@kernel
def _record(trees, go, chains, table, game, visits, drawn, keep_eyes):
    """Record the root's position, and the visits as probabilities."""
    points = len(visits) - 1
    legal = np.empty(points + 1, np.int8)
    row = table.records[game]
    find_legal(trees, go, chains, game, ROOT, keep_eyes, legal)
    planes = table.planes[row, game].reshape((PLANES, points))
    write_planes(trees, go, chains, game, ROOT, legal, go.symmetries[0], planes)
    total = 0.0
    for action in range(points + 1):
        weight = float(visits[action])
        weight = weight**TEMPERATURE if drawn else weight
        table.policies[row, game, action] = weight
        total += weight
    for action in range(points + 1):
        table.policies[row, game, action] /= total
    table.records[game] = row + 1


@kernel
def take_turn(trees, go, chains, table, game, draw_moves, fraction, keep_eyes):
    """The player's decision after the search: a move, or RESIGN; a full search is recorded.

    Args:
        draw_moves: before so many moves, the move is drawn; later it is the most visited one.
        fraction: what decides the draw, in [0, 1).
    """
    points = trees.boards.shape[2] - 1
    colour = trees.to_move[game, 0]
    if colour * trees.totals[game, 0] / (1.0 + trees.visits[game, 0]) < table.resign_at[game]:
        return RESIGN
    visits = np.empty(points + 1, np.int64)
    root_visits(trees, game, visits)
    best = most_visited(trees, game, visits)
    if trees.choices[game, 0] == 1:  # nothing was tried
        visits[best] = 1
    allowed = visits.copy()
    if table.streaks[game, int(colour != BLACK)] >= PASSES:
        leave_settled(trees, go, chains, game, allowed)
    drawn = trees.lengths[game] < draw_moves
    move = draw_point(visits, fraction) if drawn else most_visited(trees, game, allowed)
    if move < 0:
        move = points
    if table.full[game]:
        prune(trees, game, visits, best)
        leave_out(visits, allowed)
        child = child_of(trees, game, ROOT, move)
        if child:
            trees.visits[game, child] = visits[move]  # the next search goes on from what is left of them
        if table.records[game] < len(table.planes):
            _record(trees, go, chains, table, game, visits, drawn, keep_eyes)
    return move


@kernel
def play(trees, go, chains, table, game, move, max_moves, keep):
    """Make a move in a game: the tree goes on from there, and the winner is noted if that ends the game."""
    points = trees.boards.shape[2] - 1
    side = int(trees.to_move[game, 0] == BLACK)
    table.moves[game, trees.lengths[game]] = move
    if move != points:
        if table.streaks[game, side] < PASSES:  # once reached, it stays
            table.streaks[game, side] = 0
    else:
        table.streaks[game, side] += 1
    advance(trees, go, chains, game, move, max_moves, keep)
    size = int(np.sqrt(points))
    if trees.states[game, 0] == OVER:
        table.winners[game] = int(trees.first[game, 0])
    elif trees.lengths[game] >= size * ((size + 2) // 3):
        owned = np.empty(points, np.int8)
        if all_pass_alive(trees.boards[game, 0], go, chains, owned):  # both would be made to pass
            table.winners[game] = 1 if area(trees.boards[game, 0], go, chains, owned) > KOMI else -1


@kernel
def exchange(trees, others, go, chains, table, ready, goals, readouts, max_moves):
    """A match: in each game that is ready, make the most visited move in both players' trees.

    Args:
        trees, others: of the player to move, and of the opponent.
        goals: of the opponent, int32 of shape (games,): gets the visits that will end its search.
        readouts: the opponent's new ones.
    """
    for game in range(len(ready)):
        if ready[game]:
            move = take_turn(trees, go, chains, table, game, np.int64(0), 0.0, np.bool_(False))
            advance(others, go, chains, game, move, max_moves, True)
            play(trees, go, chains, table, game, move, max_moves, True)
            goals[game] = others.visits[game, 0] + readouts


@kernel
def find_ready(trees, goals, playing, ready):
    """Mark the games whose search is done, among those `playing`; returns how many.

    It has reached its goal, or the tree's room, or there is but one move to choose from.
    """
    room = trees.boards.shape[1]
    count = 0
    for game in range(len(ready)):
        searched = trees.visits[game, 0] >= goals[game] or trees.counts[game] + 16 > room
        searched |= trees.choices[game, 0] == 1
        ready[game] = playing[game] and trees.states[game, 0] == EXPANDED and searched
        count += ready[game]
    return count


@kernel
def take_turns(
    trees,
    go,
    chains,
    table,
    ready,
    goals,
    chances,
    noise,
    readouts,
    full_share,
    draw_moves,
    keep_eyes,
    max_moves,
):
    """Self-play: in each game that is ready, decide, move, and set the next search up.

    Args:
        goals: int32 of shape (games,): gets the visits that will end the next search.
        chances: float64 of shape (games, 2): what decides draws and the kind of the next search, in [0, 1).
        noise: float32 of shape (games, points + 1): for full searches.
        readouts: of a fast and of a full search.
        full_share: the part of searches that are full ones.
    """
    for game in range(len(ready)):
        if not ready[game]:
            continue
        move = take_turn(trees, go, chains, table, game, draw_moves, chances[game, 0], keep_eyes)
        if move == RESIGN:
            table.winners[game] = -trees.to_move[game, 0]
            continue
        play(trees, go, chains, table, game, move, max_moves, True)
        begin_search(trees, goals, table, game, readouts, chances[game, 1] < full_share, noise[game])


@kernel
def begin_search(trees, goals, table, game, readouts, full, noise):
    """Set the next self-play search up: a full one begins from nothing, with noise, a fast one keeps the tree.

    The goal counts what the kept root had in both cases, as in the reference.
    """
    table.full[game] = full
    goals[game] = trees.visits[game, 0] + readouts[int(full)]
    if full and table.winners[game] == 0:
        clear(trees, game)
        trees.noisy[game] = True
        for action in range(len(noise)):  # numba takes four seconds to compile an assignment of arrays
            trees.noise[game, action] = noise[action]
