"""BERT with both pre-training heads (Devlin et al. 2018, arXiv:1810.04805), without computing anything for padding.

The pieces of all samples of a batch lie one after the other in one matrix; only attention lays them out in a padded
grid. The reference (modeling.py in mlcommons/training, language_model/tensorflow/bert) computes the same numbers with
padding: GELU in its tanh form, LayerNorm's epsilon 1e-12, the head for masked pieces at masked positions only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, scaled_dot_product_attention

from octathlon.datasets.wikipedia.loader import Batch

SEGMENTS = 2
EPSILON = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The shape of a model."""

    vocabulary: int
    positions: int
    hidden: int
    layers: int
    heads: int
    inner: int
    hidden_dropout: float
    attention_dropout: float


class Bert(nn.Module):
    """A batch -> logits of the masked pieces, (masked, vocabulary), and of the next sentence, (samples, 2)."""

    def __init__(self, sizes: Sizes, initializer_range: float) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.pooler = nn.Linear(sizes.hidden, sizes.hidden)
        self.head = MaskedHead(sizes)
        self.next_sentence = nn.Linear(sizes.hidden, 2)
        self.apply(lambda module: _initialise(module, initializer_range))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        states = self.embeddings(batch)
        grid = Grid(batch)
        for layer in self.layers:
            states = layer(states, grid)
        first = states[batch.lengths.cumsum(0) - batch.lengths]
        masked = self.head(states[batch.masked], self.embeddings.word.weight)
        return masked, self.next_sentence(torch.tanh(self.pooler(first)))


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed: (tokens, hidden)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.word = nn.Embedding(sizes.vocabulary, sizes.hidden)
        self.position = nn.Embedding(sizes.positions, sizes.hidden)
        self.segment = nn.Embedding(SEGMENTS, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.dropout = nn.Dropout(sizes.hidden_dropout)

    def forward(self, batch: Batch) -> Tensor:
        total = self.word(batch.pieces) + self.position(batch.positions) + self.segment(batch.segments)
        return self.dropout(self.norm(total))


class Grid:
    """The padded layout of a batch, (samples, longest), in which attention works."""

    def __init__(self, batch: Batch) -> None:
        self._places = batch.places
        self._shape = (len(batch.lengths), batch.longest)
        columns = torch.arange(batch.longest, device=batch.lengths.device)
        self.mask = (columns < batch.lengths[:, None])[:, None, None, :]
        """(samples, 1, 1, longest): which columns hold a piece."""

    def spread(self, states: Tensor) -> Tensor:
        """(tokens, width) -> (samples, longest, width), zeros for padding"""
        samples, longest = self._shape
        padded = states.new_zeros(samples * longest, states.shape[1]).index_copy(0, self._places, states)
        return padded.view(samples, longest, -1)

    def gather(self, padded: Tensor) -> Tensor:
        """(samples, longest, width) -> (tokens, width)"""
        return padded.reshape(-1, padded.shape[2]).index_select(0, self._places)


class Layer(nn.Module):
    """Self-attention and two dense layers, each followed by dropout, the shortcut, and LayerNorm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention = Attention(sizes)
        self.attention_norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.intermediate = nn.Linear(sizes.hidden, sizes.inner)
        self.output = nn.Linear(sizes.inner, sizes.hidden)
        self.output_norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.dropout = sizes.hidden_dropout

    def forward(self, states: Tensor, grid: Grid) -> Tensor:
        attended = self._drop(self.attention(states, grid))
        states = self.attention_norm(attended + states)
        inner = gelu(self.intermediate(states), approximate="tanh")
        return self.output_norm(self._drop(self.output(inner)) + states)

    def _drop(self, states: Tensor) -> Tensor:
        return dropout(states, self.dropout, self.training)


class Attention(nn.Module):
    """Multi-head self-attention within each sample."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.query = nn.Linear(sizes.hidden, sizes.hidden)
        self.key = nn.Linear(sizes.hidden, sizes.hidden)
        self.value = nn.Linear(sizes.hidden, sizes.hidden)
        self.output = nn.Linear(sizes.hidden, sizes.hidden)
        self.heads = sizes.heads
        self.dropout = sizes.attention_dropout

    def forward(self, states: Tensor, grid: Grid) -> Tensor:
        parts = (self.query, self.key, self.value)  # three tensors for the optimizer, one multiplication here
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        padded = grid.spread(linear(states, weight, bias))
        samples, longest, _ = padded.shape
        query, key, value = padded.view(samples, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        attended = scaled_dot_product_attention(query, key, value, attn_mask=grid.mask, dropout_p=rate)
        return self.output(grid.gather(attended.transpose(1, 2).flatten(2)))


class MaskedHead(nn.Module):
    """States of the masked pieces -> logits over the vocabulary, with the word embeddings as the last matrix."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.hidden, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.bias = nn.Parameter(torch.zeros(sizes.vocabulary))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        transformed = self.norm(gelu(self.dense(states), approximate="tanh"))
        return linear(transformed, words, self.bias)


def _initialise(module: nn.Module, deviation: float) -> None:
    """The reference's: normal numbers cut off at two deviations, biases 0; layer norms keep PyTorch's 1 and 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


# The reference's names ---------------------------------------------------------------------------------

NAMES = {
    r"embeddings\.word\.weight": "bert/embeddings/word_embeddings",
    r"embeddings\.position\.weight": "bert/embeddings/position_embeddings",
    r"embeddings\.segment\.weight": "bert/embeddings/token_type_embeddings",
    r"head\.bias": "cls/predictions/output_bias",
    r"next_sentence\.weight": "cls/seq_relationship/output_weights",
    r"next_sentence\.bias": "cls/seq_relationship/output_bias",
}
MODULES = {
    r"embeddings\.norm": "bert/embeddings/LayerNorm",
    r"layers\.(\d+)\.attention\.(query|key|value)": r"bert/encoder/layer_\1/attention/self/\2",
    r"layers\.(\d+)\.attention\.output": r"bert/encoder/layer_\1/attention/output/dense",
    r"layers\.(\d+)\.attention_norm": r"bert/encoder/layer_\1/attention/output/LayerNorm",
    r"layers\.(\d+)\.(intermediate|output)": r"bert/encoder/layer_\1/\2/dense",
    r"layers\.(\d+)\.output_norm": r"bert/encoder/layer_\1/output/LayerNorm",
    r"pooler": "bert/pooler/dense",
    r"head\.dense": "cls/predictions/transform/dense",
    r"head\.norm": "cls/predictions/transform/LayerNorm",
}


def reference_name(name: str) -> str:
    """A parameter's name in the round's logs and in the reference's checkpoint."""
    if whole := _renamed(name, NAMES):
        return whole
    module, _, kind = name.rpartition(".")
    path = _renamed(module, MODULES)
    if path.endswith("LayerNorm"):
        return f"{path}/{ {'weight': 'gamma', 'bias': 'beta'}[kind] }"
    return f"{path}/{ {'weight': 'kernel', 'bias': 'bias'}[kind] }"


def _renamed(name: str, table: Mapping[str, str]) -> str:
    """`name` by the first pattern that matches all of it; empty if none does."""
    for pattern, replacement in table.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return ""


def from_reference(name: str, value: Tensor) -> Tensor:
    """A checkpoint's tensor as the parameter: kernels lie there as (inputs, outputs)."""
    return value.T if name.endswith("/kernel") else value
