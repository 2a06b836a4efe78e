"""BERT samples in memory, each of its own length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octathlon.datasets.wikipedia.ragged import Ragged

FIELDS = {"input_ids": "<i2", "segment_ids": "<i1", "masked_lm_positions": "<i2", "masked_lm_ids": "<i2"}
"""What a sample has a row of, with the type of its numbers."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples in order; row i of every field belongs to sample i."""

    fields: dict[str, Ragged]
    """FIELDS by name: pieces, segments (0 or 1), positions of the masked pieces, and which they were."""
    next_sentence_labels: np.ndarray
    """int8 of shape (samples,); 1 if segment 1 does not follow segment 0 in the text."""

    def __len__(self) -> int:
        return len(self.next_sentence_labels)

    def take(self, rows: np.ndarray) -> Samples:
        """The given samples, in that order."""
        fields = {name: field.take(rows) for name, field in self.fields.items()}
        return Samples(fields, self.next_sentence_labels[rows])

    @classmethod
    def join(cls, parts: Sequence[Samples]) -> Samples:
        """The samples of all parts."""
        fields = {name: Ragged.join([part.fields[name] for part in parts]) for name in FIELDS}
        return cls(fields, np.concatenate([part.next_sentence_labels for part in parts]))
