"""Greedy decoding, and the word error rate."""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.functional import edit_distance

from octathlon.benchmarks.rnnt.model import Transducer

MAX_SYMBOLS_PER_FRAME = 30
CHECK_EVERY = 8
"""Steps between two looks at whether all is written, for which the host must wait: those after the end do nothing."""


@torch.no_grad()
def greedy_decode(model: Transducer, encoded: Tensor, lengths: Tensor, max_symbols: int) -> list[list[int]]:
    """The most likely piece at every step, without search, for all utterances at once.

    An utterance stays at a frame until it writes blank or has written MAX_SYMBOLS_PER_FRAME pieces there, and ends
    with its last frame, or with the first one after which it has more than `max_symbols` pieces.

    Args:
        encoded: what `model.encode` put out, of shape (utterances, T, joint width)
        lengths: frames of each utterance, of shape (utterances,)
    """
    rows = torch.arange(len(encoded), device=encoded.device)
    read, state = model.predict(None, None, len(encoded))
    frame, in_frame, total = (torch.zeros_like(lengths) for _ in range(3))
    written = []
    active = frame < lengths
    while len(written) % CHECK_EVERY or active.any():
        logits = model.joint_net(encoded[rows, frame.clamp(max=encoded.shape[1] - 1)] + read)
        best = logits.argmax(1)
        writes = active & (best != model.blank)
        written.append(torch.where(writes, best, -1))
        new_read, new_state = model.predict(best.clamp(max=model.blank - 1), state, len(encoded))
        read = torch.where(writes[:, None], new_read, read)
        state = tuple(torch.where(writes[:, None], *pair) for pair in zip(new_state, state, strict=True))
        in_frame, total = in_frame + writes, total + writes
        moves = ~writes | (in_frame == MAX_SYMBOLS_PER_FRAME)
        in_frame = torch.where(moves, 0, in_frame)
        frame = frame + moves
        active = active & (frame < lengths) & ~(moves & (total > max_symbols))
    if not written:
        return [[] for _ in rows]
    return [[token for token in row if token >= 0] for row in torch.stack(written, dim=1).tolist()]


def word_errors(hypothesis: str, reference: str) -> int:
    """Substitutions, insertions and deletions of words that lead from one text to the other."""
    return edit_distance(hypothesis.split(), reference.split())
