"""Monte-Carlo tree search with PUCT, for many games at once. Kernels.

Two calls alternate: `select_leaves` descends each game's tree to positions that are worth a look and writes their
features; the network looks at all of them in one batch; `expand_leaves` puts what it said into the trees. Formulas and
constants: AlphaZero as in the reference (minigo, cc/mcts_node.h, cc/mcts_tree.cc, ml_perf/flags/19/selfplay.flags).
"""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.features import choose_symmetry, find_legal, write_planes
from octathlon.benchmarks.minigo.tree import EXPANDED, OVER, ROOT, child_of, find_untried, grow

C_BASE, C_INIT = 19652.0, 1.25

# Nodes, actions and counts are made int64 before a kernel gets them: numba compiles it, and all that it calls, anew for
# each type that it is called with. Trees keep them in fewer bits; as these, some kernels would be there twice.


# Selection -------------------------------------------------------------------------------------------------


@kernel
def exploration(visits):
    """What multiplies prior * sqrt(visits) / (1 + visits of the action)."""
    return 2.0 * (np.log((1.0 + visits + C_BASE) / C_BASE) + C_INIT)


@kernel
def best_action(trees, game, node):
    """The action with the greatest value and bonus for the player to move, the first of several.

    Of those that were not tried, whose value is the same, it can but be the one with the greatest prior.
    """
    sign = trees.to_move[game, node]
    visits = trees.visits[game, node]
    bonus = exploration(visits) * np.sqrt(max(1.0, visits - 1.0))
    best, best_score = np.int64(trees.untried[game, node]), -np.inf
    if best >= 0:
        best_score = sign * trees.first[game, node] + bonus * trees.priors[game, node, best]
    child = trees.youngest[game, node]
    while child:
        action = np.int64(trees.moves[game, child])
        total = sign * trees.totals[game, child] + bonus * trees.priors[game, node, action]
        score = total / (1.0 + trees.visits[game, child])
        if score > best_score or (score == best_score and action < best):
            best, best_score = action, score
        child = trees.elders[game, child]
    return best


@kernel
def _descend(trees, go, chains, game, max_moves):
    """The leaf that the search wants to look at."""
    node = ROOT
    while trees.states[game, node] == EXPANDED:
        action = best_action(trees, game, node)
        if action == trees.untried[game, node]:
            find_untried(trees, game, node, action)
            node = np.int64(grow(trees, go, chains, game, node, action, max_moves))
        else:
            node = np.int64(child_of(trees, game, node, action))
    return node


@kernel
def select_leaves(trees, go, chains, wanted, goals, virtual_losses, max_moves, keep_eyes, found, features):
    """Select up to `virtual_losses` leaves of each game that is wanted; returns how many the network must look at.

    The search of a game ends within a batch, as soon as the ends of the game that it finds bring the root to its goal.

    Args:
        wanted: bool of shape (games,).
        goals: int32 of shape (games,), visits of the root that end the search.
        keep_eyes: see `find_legal`.
        found: int64 of shape (leaves, 3), gets game, node and symmetry of each leaf.
        features: uint8 of shape (leaves, 13, points), gets the leaves' planes.
    """
    points = trees.boards.shape[2] - 1
    legal = np.empty(points + 1, np.int8)
    count = 0
    for game in range(len(wanted)):
        if not wanted[game] or trees.counts[game] + 2 * virtual_losses >= trees.boards.shape[1]:
            continue
        selected = 0
        for _ in range(2 * virtual_losses):  # ends that are known cost nothing, but must not go on for ever
            if trees.visits[game, 0] >= goals[game]:
                break
            leaf = _descend(trees, go, chains, game, max_moves)
            if trees.states[game, leaf] == OVER:
                back_up(trees, game, leaf, trees.first[game, leaf])
                continue
            if trees.losses[game, leaf] == 0:
                find_legal(trees, go, chains, game, leaf, keep_eyes, legal)
                for action in range(points + 1):
                    trees.priors[game, leaf, action] = 0 if legal[action] > 0 else -1
                symmetry = choose_symmetry(trees.keys[game, leaf], trees.salts[game])
                found[count, 0], found[count, 1], found[count, 2] = game, leaf, symmetry
                source, planes = go.symmetries[symmetry], features[count]
                write_planes(trees, go, chains, game, leaf, legal, source, planes)
                count += 1
            _lose(trees, game, leaf, np.int64(1))
            selected += 1
            if selected == virtual_losses or leaf == 0:
                break
    return count


@kernel
def _lose(trees, game, node, count):
    """Add `count` virtual losses, as seen by who chose each node of the path; negative: take them back."""
    trees.losses[game, node] += count
    while node >= 0:
        trees.totals[game, node] += count * trees.to_move[game, node]
        node = trees.parents[game, node]


@kernel
def back_up(trees, game, node, value):
    """Count a visit with its value at a node and all above it."""
    while node >= 0:
        trees.visits[game, node] += 1
        trees.totals[game, node] += value
        node = trees.parents[game, node]


# Expansion -------------------------------------------------------------------------------------------------


@kernel
def expand_leaves(trees, go, found, count, logits, values, penalty, noise_weight):
    """Expand the leaves that `select_leaves` found, by what the network says of them, and back up.

    Args:
        logits, values: float32 of shape (leaves, points + 1) and (leaves,).
        penalty: how much worse than its parent an action looks before it is tried.
        noise_weight: the part of the noise in the root's priors.
    """
    for index in range(count):
        game, node, symmetry = found[index]
        value = np.float64(values[index])
        _set_priors(trees, game, node, go.symmetries[symmetry], logits[index])
        if node == 0 and trees.noisy[game]:
            _mix_noise(trees, game, noise_weight)
        find_untried(trees, game, node, np.int64(-1))
        trees.states[game, node] = EXPANDED
        trees.first[game, node] = min(max(value - trees.to_move[game, node] * penalty, -1.0), 1.0)
        _lose(trees, game, node, -trees.losses[game, node])
        back_up(trees, game, node, value)


@kernel
def _set_priors(trees, game, node, source, logits):
    """The softmax of the logits over the moves that may be played."""
    points = len(source)
    priors = trees.priors[game, node]
    playable, weights = np.empty(points + 1, np.int16), np.empty(points + 1, np.float32)
    count = 0
    for point in range(points + 1):  # without branches: which moves may be played is hard to foresee
        action = source[point] if point < points else points
        playable[count], weights[count] = action, logits[point]
        count += priors[action] >= 0
    largest = weights[:count].max()
    total = np.float32(0)
    for index in range(count):
        weights[index] = np.exp(weights[index] - largest)
        total += weights[index]
    for index in range(count):
        priors[playable[index]] = weights[index] / total
    trees.choices[game, node] = count


@kernel
def _mix_noise(trees, game, weight):
    """Mix the game's noise, over the moves that may be played, into the root's priors."""
    priors = trees.priors[game, 0]
    total = 0.0
    for action in range(len(priors)):
        total += trees.noise[game, action] if priors[action] >= 0 else 0.0
    for action in range(len(priors)):
        if priors[action] >= 0 and total > 0:
            priors[action] = (1 - weight) * priors[action] + weight * trees.noise[game, action] / total
    trees.noisy[game] = False
