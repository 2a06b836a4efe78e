"""Trees of positions, for many games at once: arrays, and kernels that grow and cut them. The search is in `puct`.

Values are Black's: 1 if Black wins, -1 if White does. An action's mean value divides by 1 + visits: the value that it
starts with counts as one visit (reference: minigo, cc/mcts_node.h, cc/mcts_tree.cc).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from octathlon.benchmarks.minigo.area import area
from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.features import HISTORY
from octathlon.benchmarks.minigo.rules import BLACK, EMPTY, KOMI, place, remember

FRESH, EXPANDED, OVER = 0, 1, 2
ROOT = np.int64(0)
"""The root's node. It has a type: numba compiles a kernel anew for each plain literal that it is called with."""


class Trees(NamedTuple):
    """The trees of all games; arrays have the shape (games, nodes, ...) or (games, ...). Node 0 is the root."""

    boards: np.ndarray
    keys: np.ndarray
    parents: np.ndarray
    moves: np.ndarray
    """The move that led to a node."""
    to_move: np.ndarray
    passes: np.ndarray
    """Passes that led to a node, without a stone in between."""
    depths: np.ndarray
    states: np.ndarray
    """FRESH: not seen by the network; EXPANDED; OVER: the game is over there."""
    visits: np.ndarray
    totals: np.ndarray
    """Sum of the values of a node's visits, its first value and its virtual losses."""
    first: np.ndarray
    """What a node's children start with; where the game is over, the value."""
    losses: np.ndarray
    """Virtual losses that wait at a node for the network's answer."""
    priors: np.ndarray
    """float32 of shape (games, nodes, points + 1); negative: not to be played"""
    choices: np.ndarray
    """How many moves may be played, once a node is expanded."""
    untried: np.ndarray
    """The move without a node that has the greatest prior, the first of several; -1: none."""
    youngest: np.ndarray
    """A node's newest child, 0: none..."""
    elders: np.ndarray
    """... and, of each child, the one before it."""
    counts: np.ndarray
    """Nodes in use, of each game."""
    lengths: np.ndarray
    """Moves played before the root."""
    past: np.ndarray
    """The three boards before the root's, int8 of shape (games, 3, points + 1)"""
    stood: np.ndarray
    """Where stones of White and of Black have been in the game, bool of shape (games, 2, points)"""
    seen: np.ndarray
    """Tables of the keys of the game's positions, see `rules.remember`."""
    salts: np.ndarray
    """uint64: what makes the symmetries of a game its own."""
    noise: np.ndarray
    """float32 of shape (games, points + 1): to be mixed into the root's priors..."""
    noisy: np.ndarray
    """... where this is set, as soon as there are priors."""


def plant(games: int, nodes: int, size: int, max_moves: int) -> Trees:
    """Trees for games on boards of `size` lines with at most so many nodes and moves; `reset` begins a game."""
    points = size * size
    each, actions = (games, nodes), points + 1
    return Trees(
        boards=np.zeros((*each, actions), np.int8),
        keys=np.zeros(each, np.uint64),
        parents=np.zeros(each, np.int32),
        moves=np.zeros(each, np.int16),
        to_move=np.zeros(each, np.int8),
        passes=np.zeros(each, np.int8),
        depths=np.zeros(each, np.int16),
        states=np.zeros(each, np.int8),
        visits=np.zeros(each, np.int32),
        totals=np.zeros(each, np.float64),
        first=np.zeros(each, np.float64),
        losses=np.zeros(each, np.int16),
        priors=np.zeros((*each, actions), np.float32),
        choices=np.zeros(each, np.int16),
        untried=np.zeros(each, np.int16),
        youngest=np.zeros(each, np.int32),
        elders=np.zeros(each, np.int32),
        counts=np.zeros(games, np.int32),
        lengths=np.zeros(games, np.int32),
        past=np.zeros((games, HISTORY - 1, actions), np.int8),
        stood=np.zeros((games, 2, points), np.bool_),
        seen=np.zeros((games, 1 << (2 * max_moves).bit_length()), np.uint64),
        salts=np.zeros(games, np.uint64),
        noise=np.zeros((games, actions), np.float32),
        noisy=np.zeros(games, np.bool_),
    )


@kernel
def reset(trees, game, salt):
    """Begin a game on the empty board."""
    points = trees.boards.shape[2] - 1
    trees.boards[game, 0, :points] = EMPTY
    trees.boards[game, 0, points] = 2
    trees.keys[game, 0] = 0
    trees.to_move[game, 0] = BLACK
    trees.passes[game, 0] = 0
    trees.past[game] = EMPTY
    trees.stood[game] = False
    trees.seen[game] = 0
    trees.lengths[game] = 0
    trees.salts[game] = salt
    trees.noisy[game] = False
    clear(trees, game)


@kernel
def clear(trees, game):
    """Forget all but the root's position."""
    trees.parents[game, 0] = -1
    trees.depths[game, 0] = 0
    trees.states[game, 0] = FRESH
    trees.visits[game, 0] = 0
    trees.totals[game, 0] = 0
    trees.losses[game, 0] = 0
    trees.youngest[game, 0] = 0
    trees.counts[game] = 1


@kernel
def child_of(trees, game, node, move):
    """The node to which `move` leads; 0: none."""
    child = trees.youngest[game, node]
    while child and trees.moves[game, child] != move:
        child = trees.elders[game, child]
    return child


@kernel
def find_untried(trees, game, node, last):
    """Note which move is to be tried after `last`, -1 at first: moves are tried by their priors, the greatest first."""
    priors = trees.priors[game, node]
    limit = priors[last] if last >= 0 else np.float32(np.inf)
    best, most = -1, np.float32(-1)
    for action in range(len(priors)):
        prior = priors[action]
        if prior > most and prior >= 0 and (prior < limit or (prior == limit and action > last)):
            best, most = action, prior
    trees.untried[game, node] = best


@kernel
def grow(trees, go, chains, game, node, move, max_moves):
    """Add the node to which `move` leads; returns it."""
    points = trees.boards.shape[2] - 1
    child = trees.counts[game]
    trees.counts[game] = child + 1
    trees.parents[game, child] = node
    trees.elders[game, child] = trees.youngest[game, node]
    trees.youngest[game, node] = child
    trees.youngest[game, child] = 0
    trees.moves[game, child] = move
    trees.depths[game, child] = trees.depths[game, node] + 1
    trees.visits[game, child] = 0
    trees.losses[game, child] = 0
    trees.totals[game, child] = trees.first[game, node]
    trees.states[game, child] = FRESH
    colour = trees.to_move[game, node]
    trees.to_move[game, child] = -colour
    board = trees.boards[game, child]
    board[:] = trees.boards[game, node]
    key = trees.keys[game, node]
    if move < points:
        _, _, change = place(board, go, chains, move, colour)
        key ^= change
        trees.passes[game, child] = 0
    else:
        trees.passes[game, child] = trees.passes[game, node] + 1
    trees.keys[game, child] = key
    if trees.passes[game, child] == 2 or trees.lengths[game] + trees.depths[game, child] >= max_moves:
        trees.states[game, child] = OVER
        owned = np.empty(points, np.int8)
        trees.first[game, child] = 1.0 if area(board, go, chains, owned) > KOMI else -1.0
    return child


@kernel
def advance(trees, go, chains, game, move, max_moves, keep):
    """Play `move` in a game: its node becomes the root, with the tree below it if `keep`."""
    child = child_of(trees, game, ROOT, move)
    if child == 0:
        child = grow(trees, go, chains, game, ROOT, move, max_moves)
    for back in range(HISTORY - 2, 0, -1):
        trees.past[game, back] = trees.past[game, back - 1]
    trees.past[game, 0] = trees.boards[game, 0]
    trees.lengths[game] += 1
    if move < trees.stood.shape[2]:
        trees.stood[game, int(trees.to_move[game, 0] == BLACK), move] = True
    over = trees.states[game, child] == OVER
    _move_up(trees, game, child)
    if not keep and not over:
        clear(trees, game)
    if trees.passes[game, 0] == 0:
        remember(trees.seen[game], trees.keys[game, 0])


@kernel
def _move_up(trees, game, root):
    """Keep the nodes below `root` only, in their order. A node's number is greater than its parent's."""
    count = trees.counts[game]
    places = np.full(count, -1, np.int32)
    kept = 0
    for node in range(root, count):
        parent = trees.parents[game, node]
        if node != root and places[parent] < 0:
            continue
        places[node] = kept
        trees.parents[game, kept] = places[parent] if node != root else -1
        trees.boards[game, kept] = trees.boards[game, node]
        trees.keys[game, kept] = trees.keys[game, node]
        trees.moves[game, kept] = trees.moves[game, node]
        trees.to_move[game, kept] = trees.to_move[game, node]
        trees.passes[game, kept] = trees.passes[game, node]
        trees.depths[game, kept] = trees.depths[game, node] - 1
        trees.states[game, kept] = trees.states[game, node]
        trees.visits[game, kept] = trees.visits[game, node]
        trees.totals[game, kept] = trees.totals[game, node]
        trees.first[game, kept] = trees.first[game, node]
        trees.losses[game, kept] = trees.losses[game, node]
        trees.priors[game, kept] = trees.priors[game, node]
        trees.choices[game, kept] = trees.choices[game, node]
        trees.untried[game, kept] = trees.untried[game, node]
        trees.youngest[game, kept] = 0
        if kept:
            above = trees.parents[game, kept]
            trees.elders[game, kept] = trees.youngest[game, above]
            trees.youngest[game, above] = kept
        kept += 1
    trees.counts[game] = kept
