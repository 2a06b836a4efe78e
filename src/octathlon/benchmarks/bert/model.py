"""BERT with both pre-training heads (Devlin et al. 2018, arXiv:1810.04805), without computing anything for padding.

The pieces of all samples of a batch lie one after the other in one matrix. The reference (modeling.py in
mlcommons/training, language_model/tensorflow/bert) computes the same numbers with padding: GELU in its tanh form,
LayerNorm's epsilon 1e-12, the head for masked pieces at masked positions only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, scaled_dot_product_attention

from octathlon.benchmarks.bert.adjacent import Adjacent, joined
from octathlon.datasets.wikipedia.loader import Batch

SEGMENTS = 2
EPSILON = 1e-12
ALIGNMENT = 8
"""Rows of 16-bit logits begin at multiples of 16 bytes: matrix products are far slower on a GPU where they do not."""


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
        for layer in self.layers:
            states = layer(states, batch)
        first = states.index_select(0, batch.offsets[:-1])
        masked = self.head(states.index_select(0, batch.masked), self.embeddings.word)
        return masked, self.next_sentence(torch.tanh(self.pooler(first)))


class Words(Adjacent, nn.Embedding):
    """The word embeddings, also the last matrix of the head: there with rows of zeros up to a multiple of ALIGNMENT."""

    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__(vocabulary, hidden)
        self.lay_out()

    def groups(self) -> Iterator[tuple[Sequence[nn.Parameter], int]]:
        yield (self.weight,), _aligned(len(self.weight))

    def matrix(self) -> Tensor:
        """(vocabulary and the rows of zeros, hidden)"""
        return joined((self.weight,), _aligned(len(self.weight)))


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed: (tokens, hidden)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.word = Words(sizes.vocabulary, sizes.hidden)
        self.position = nn.Embedding(sizes.positions, sizes.hidden)
        self.segment = nn.Embedding(SEGMENTS, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.dropout = nn.Dropout(sizes.hidden_dropout)

    def forward(self, batch: Batch) -> Tensor:
        total = self.word(batch.pieces) + self.position(batch.positions) + self.segment(batch.segments)
        return self.dropout(self.norm(total))


class Layer(nn.Module):
    """Self-attention and three dense parts."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention = Attention(sizes)
        self.dense = Dense(sizes)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        return self.dense(self.attention(states, batch), states)


class Dense(nn.Module):
    """A layer without its attention: one dense part, then two, and after either dropout, the shortcut, and LayerNorm.

    All that can be fused is in here, and nothing that depends on how long each sample is: it can be compiled once.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_output = nn.Linear(sizes.hidden, sizes.hidden)
        self.attention_norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.intermediate = nn.Linear(sizes.hidden, sizes.inner)
        self.output = nn.Linear(sizes.inner, sizes.hidden)
        self.output_norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.dropout = sizes.hidden_dropout

    def forward(self, attended: Tensor, states: Tensor) -> Tensor:
        """Both of shape (tokens, hidden)."""
        states = self.attention_norm(self._drop(self.attention_output(attended)) + states)
        inner = gelu(self.intermediate(states), approximate="tanh")
        return self.output_norm(self._drop(self.output(inner)) + states)

    def _drop(self, states: Tensor) -> Tensor:
        return dropout(states, self.dropout, self.training)


class Attention(Adjacent):
    """Multi-head self-attention within each sample; query, key and value come from one matrix product."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.query = nn.Linear(sizes.hidden, sizes.hidden)
        self.key = nn.Linear(sizes.hidden, sizes.hidden)
        self.value = nn.Linear(sizes.hidden, sizes.hidden)
        self.heads = sizes.heads
        self.dropout = sizes.attention_dropout
        self.lay_out()

    def groups(self) -> Iterator[tuple[Sequence[nn.Parameter], int]]:
        parts = (self.query, self.key, self.value)
        for group in ([part.weight for part in parts], [part.bias for part in parts]):
            yield group, sum(map(len, group))

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        weight, bias = (joined(parts, rows) for parts, rows in self.groups())
        projected = linear(states, weight, bias).view(len(states), 3, self.heads, -1)
        return attend(*projected.unbind(1), batch, self.dropout if self.training else 0.0).flatten(1)


def attend(query: Tensor, key: Tensor, value: Tensor, batch: Batch, rate: float) -> Tensor:
    """Attention of each sample to itself: four tensors of shape (tokens, heads, width).

    On a GPU one kernel takes samples of all lengths, in 16 bits; else they come one by one. PyTorch's public function
    for it, `torch.nn.attention.varlen.varlen_attn`, runs the same kernel but has no dropout.

    Args:
        rate: of the dropout of attention's probabilities.
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        longest, offsets = max(batch.lengths), batch.offsets
        return torch.ops.aten._flash_attention_forward(
            query,
            key,
            value,
            offsets,
            offsets,
            longest,
            longest,
            rate,
            is_causal=False,
            return_debug_mask=False,
        )[0]
    samples = zip(
        *(part.transpose(0, 1).split(batch.lengths, 1) for part in (query, key, value)), strict=True
    )
    attended = [
        scaled_dot_product_attention(*(part[None] for part in parts), dropout_p=rate)[0] for parts in samples
    ]
    return torch.cat(attended, dim=1).transpose(0, 1)


class MaskedHead(Adjacent):
    """States of the masked pieces -> logits over the vocabulary, with the word embeddings as the last matrix."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.hidden, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, EPSILON)
        self.bias = nn.Parameter(torch.zeros(sizes.vocabulary))
        self.lay_out()

    def groups(self) -> Iterator[tuple[Sequence[nn.Parameter], int]]:
        yield (self.bias,), _aligned(len(self.bias))

    def forward(self, states: Tensor, words: Words) -> Tensor:
        transformed = self.norm(gelu(self.dense(states), approximate="tanh"))
        logits = linear(transformed, words.matrix(), joined((self.bias,), _aligned(len(self.bias))))
        return logits[:, : len(self.bias)]


def _aligned(rows: int) -> int:
    return -(-rows // ALIGNMENT) * ALIGNMENT


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
    r"layers\.(\d+)\.dense\.attention_output": r"bert/encoder/layer_\1/attention/output/dense",
    r"layers\.(\d+)\.dense\.attention_norm": r"bert/encoder/layer_\1/attention/output/LayerNorm",
    r"layers\.(\d+)\.dense\.(intermediate|output)": r"bert/encoder/layer_\1/\2/dense",
    r"layers\.(\d+)\.dense\.output_norm": r"bert/encoder/layer_\1/output/LayerNorm",
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
