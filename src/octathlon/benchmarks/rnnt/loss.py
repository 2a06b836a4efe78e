"""The transducer's joint network and loss (Graves 2012, arXiv:1211.3711), in memory that does not grow with the batch.

A path through an utterance's lattice writes all its pieces: at frame t with u of them written, blank leads to t + 1,
the next piece to u + 1. The loss is the mean of -ln of all paths' probability. It asks of a node's logits for two
log-probabilities only, so joint network, lattice and gradients are computed for some utterances at a time, as soon as
the forward pass gets there: nothing as large as the logits outlives its group, no node is computed that no path can
reach, and the host, which knows all lengths, never waits for the device to tell it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear, log_softmax, pad

GROUP = 1 << 28
"""Logits that are computed at once, unless a single utterance has more: 1 GiB of them, and as much for their
logarithms."""


class Lengths(NamedTuple):
    """Encoder frames and word pieces of each utterance: on the device, int of shape (utterances,), and on the host."""

    frames: Tensor
    tokens: Tensor
    host_frames: Sequence[int]
    host_tokens: Sequence[int]


def transducer_loss(
    listened: Tensor, read: Tensor, joint_net: nn.Sequential, tokens: Tensor, lengths: Lengths
) -> Tensor:
    """The mean over utterances of -ln P(tokens | features). Its gradient cannot be differentiated in turn.

    Args:
        listened: the encoder's part of the joint network's input, of shape (utterances, T, width)
        read: the prediction network's part, of shape (utterances, tokens + 1, width)
        joint_net: ReLU, dropout and a linear layer, whose last output is blank
        tokens: of shape (utterances, tokens), padded
    """
    _, drop, output = joint_net
    rate = drop.p if drop.training else 0.0
    return _Loss.apply(listened, read, output.weight, output.bias, tokens, lengths, rate)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        listened: Tensor,
        read: Tensor,
        weight: Tensor,
        bias: Tensor,
        tokens: Tensor,
        lengths: Lengths,
        rate: float,
    ) -> Tensor:
        inputs = listened, read, weight, bias
        gradients = [torch.zeros_like(each) for each in inputs]
        groups = _groups(lengths, GROUP // len(bias))
        costs = [_learn(inputs, gradients, tokens, lengths, group, rate) for group in groups]
        for each in gradients:
            each.div_(len(listened))
        ctx.save_for_backward(*gradients)
        return torch.cat(costs).mean().float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *(each * gradient for each in ctx.saved_tensors), None, None, None


def _counts(lengths: Lengths) -> list[int]:
    """Nodes of each utterance's lattice."""
    return [
        frames * (tokens + 1) for frames, tokens in zip(lengths.host_frames, lengths.host_tokens, strict=True)
    ]


def _groups(lengths: Lengths, nodes: int) -> Iterator[slice]:
    """Runs of neighbouring utterances with at most `nodes` nodes, or of one."""
    start = total = 0
    for number, more in enumerate(_counts(lengths)):
        if total and total + more > nodes:
            yield slice(start, number)
            start, total = number, 0
        total += more
    yield slice(start, len(lengths.host_frames))


def _learn(
    inputs: tuple[Tensor, ...],
    gradients: list[Tensor],
    tokens: Tensor,
    lengths: Lengths,
    group: slice,
    rate: float,
) -> Tensor:
    """The costs of a group's utterances, in float64; the gradients of their sum are added to `gradients`."""
    listened, read, weight, bias = inputs
    lengths = Lengths(*(each[group] for each in lengths))
    nodes = _nodes(lengths)
    hidden = listened[group].flatten(0, 1).index_select(0, nodes.utterance * listened.shape[1] + nodes.frame)
    hidden += read[group].flatten(0, 1).index_select(0, nodes.utterance * read.shape[1] + nodes.token)
    hidden = dropout(hidden.relu_(), rate, inplace=True)
    with torch.autocast(
        hidden.device.type, enabled=False
    ):  # in bf16 logits are so coarse that more epochs are needed
        logs = log_softmax(linear(hidden.float(), weight, bias), 1)
    label = pad(tokens[group], (0, 1))[nodes.utterance, nodes.token].long()
    choices = torch.stack([torch.full_like(label, len(bias) - 1), label], dim=1)
    costs, wanted = _lattice(logs.gather(1, choices), nodes, lengths)
    slope = logs.exp_().mul_(wanted.sum(1, keepdim=True)).scatter_add_(1, choices, -wanted).to(hidden.dtype)
    gradients[2] += slope.T @ hidden
    gradients[3] += slope.sum(0)
    below = (slope @ weight).mul_(hidden.sign_()).div_(1 - rate)  # what is 0 was dropped, or below it
    _spread(below, lengths, gradients[0][group], gradients[1][group])
    return costs


class _Nodes(NamedTuple):
    """Where a group's nodes lie: utterance after utterance, frame after frame; each of shape (nodes,)."""

    utterance: Tensor
    frame: Tensor
    token: Tensor
    frames_left: Tensor
    tokens_left: Tensor


def _nodes(lengths: Lengths) -> _Nodes:
    rows = lengths.tokens.long() + 1
    counts = lengths.frames * rows
    total = sum(_counts(lengths))
    device = rows.device
    utterance = torch.arange(len(rows), device=device).repeat_interleave(counts, output_size=total)
    place = torch.arange(total, device=device) - (counts.cumsum(0) - counts)[utterance]
    rows = rows[utterance]
    frame = place // rows
    token = place - frame * rows
    return _Nodes(utterance, frame, token, lengths.frames[utterance] - frame, rows - 1 - token)


def _lattice(logs: Tensor, nodes: _Nodes, lengths: Lengths) -> tuple[Tensor, Tensor]:
    """-ln of all paths' probability, of shape (utterances,), and how probable it is that a path takes an arc, of shape
    (nodes, 2), which is minus the gradient.

    Two lattices are walked at once: from the start, and from the end, where what is left takes the place of what is
    done. In both an arc's weight stands where it leads. Along the frames a row of nodes is a sum over ways to come from
    the row before: a cumulative one, once what the blanks weigh is taken out. So there is one step for each piece, not
    for each node or frame, in float64, where differences of large sums stay exact.

    Args:
        logs: of blank and of the next piece at each node, of shape (nodes, 2)
    """
    most, longest, count = max(lengths.host_tokens), max(lengths.host_frames) + 1, len(lengths.frames)
    blank, label = logs.double().T
    shape = most + 2, 2, count, longest  # one row more than there are nodes, which no path reaches
    row = 2 * count * longest
    ahead = nodes.token * row + nodes.utterance * longest + nodes.frame
    back = nodes.tokens_left * row + (count + nodes.utterance) * longest + nodes.frames_left
    blanks, labels = blank.new_zeros(shape), blank.new_full(shape, -torch.inf)
    for weights, log, steps in ((blanks, blank, 1), (labels, label, row)):
        weights.view(-1)[ahead + steps] = log
        weights.view(-1)[back] = log
    blanks = blanks.cumsum(3)
    steps = blanks[:-1] + labels[1:] - blanks[1:]
    sums = torch.full_like(blanks, -torch.inf)
    sums[0] = 0
    for number in range(most):
        torch.logcumsumexp(sums[number] + steps[number], 2, out=sums[number + 1])
    walked = (sums + blanks).view(-1)
    ends = torch.arange(count, 2 * count, device=blank.device) * longest
    total = walked[lengths.tokens * row + ends + lengths.frames]
    done = walked[ahead] - total[nodes.utterance]
    taken = torch.stack([done + blank + walked[back - 1], done + label + walked[back - row]], dim=1).exp()
    return -total, taken.float()


def _spread(below: Tensor, lengths: Lengths, listened: Tensor, read: Tensor) -> None:
    """What went into several of a group's nodes gets the sum of their gradients, of shape (nodes, width)."""
    blocks = below.split(_counts(lengths))
    for number, (frames, tokens) in enumerate(zip(lengths.host_frames, lengths.host_tokens, strict=True)):
        block = blocks[number].view(frames, tokens + 1, -1)
        torch.sum(block, 1, out=listened[number, :frames])
        torch.sum(block, 0, out=read[number, : tokens + 1])
