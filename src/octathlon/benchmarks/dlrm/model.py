"""DLRM with dot interaction (Naumov et al. 2019, arXiv:1906.00091), as in the MLPerf reference.

Initialisation and the order of the products: dlrm_s_pytorch.py (facebookresearch/dlrm, branch mlperf).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from octathlon.nn.embeddings import ShardedEmbeddings

ALIGNMENT = 8
"""Rows of 16-bit numbers begin at multiples of 16 bytes: matrix products are far slower on a GPU where they do not."""


class DLRM(nn.Module):
    """Integers of shape (N, inputs) and indices of shape (N, tables) -> float32 logits of shape (N,).

    The last layer is computed in float32 whatever the autocast: rows whose logits round to one bf16 number
    are ties to the AUC.

    Args:
        bottom: outputs of the layers for the integers; the last is the dimension of the embeddings.
        top: outputs of the layers that follow the interaction, before the last, which has one.
        embeddings: made by the caller, who knows the ranks.
    """

    def __init__(
        self,
        inputs: int,
        bottom: Sequence[int],
        top: Sequence[int],
        embeddings: ShardedEmbeddings,
        tables: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        vectors = tables + 1
        self.bottom_mlp = _mlp([inputs, *bottom], device)
        self.top_mlp = _mlp([bottom[-1] + vectors * (vectors - 1) // 2, *top, 1], device)[:-1]  # logits
        self.embeddings = embeddings
        places = pad(
            1 + torch.tensor(embeddings.order).argsort(), (1, 0)
        )  # of the given vector, then of each table
        below = torch.tril_indices(vectors, vectors, offset=-1)
        rows, columns = places[below]
        numbers = torch.zeros((vectors, vectors), dtype=torch.int64)  # of each pair's column in `interact`
        numbers[rows, columns] = numbers[columns, rows] = bottom[-1] + torch.arange(len(rows))
        self.register_buffer("_pairs", (rows * vectors + columns).to(device), persistent=False)
        self.register_buffer("_numbers", numbers.flatten().to(device), persistent=False)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The reference's distributions."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.in_features + layer.out_features)))
                nn.init.normal_(layer.bias, std=math.sqrt(1 / layer.out_features))
        self.embeddings.reset_parameters()

    def forward(self, integers: Tensor, indices: Tensor) -> Tensor:
        vectors = self.embeddings(self.bottom_mlp(integers), indices)
        hidden = self.top_mlp[:-1](self.interact(vectors))
        with torch.autocast(hidden.device.type, enabled=False):
            return self.top_mlp[-1](hidden.float()).squeeze(1)

    def interact(self, vectors: Tensor) -> Tensor:
        """The first vector and the products of all pairs: (1, 0), (2, 0), (2, 1), ... with it as 0 and the tables
        after it; zeros follow up to a multiple of ALIGNMENT.

        Args:
            vectors: of shape (1 + tables, N, dim), the tables in the order of their embeddings.
        """
        return _Interaction.apply(vectors, self._pairs, self._numbers)


class _Interaction(torch.autograd.Function):
    """A product is that of two vectors and its gradient goes to both: one matrix product, where autograd has two. Each
    part is written to its place in the result, where `cat` would copy them all once more."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, pairs: Tensor, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, numbers)
        _, count, dim = vectors.shape
        used = dim + len(pairs)
        joined = vectors.new_empty((count, used + -used % ALIGNMENT))
        joined[:, :dim] = vectors[0]
        across = vectors.transpose(0, 1)
        products = torch.bmm(across, across.transpose(1, 2)).flatten(1)
        torch.gather(products, 1, pairs.expand(count, -1), out=joined[:, dim:used])
        joined[:, used:] = 0
        return joined

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        vectors, numbers = ctx.saved_tensors
        count, dim = vectors.shape[1:]
        both = gradient.index_select(1, numbers).view(count, len(vectors), len(vectors))
        both.diagonal(dim1=1, dim2=2).zero_()  # a vector makes no pair with itself
        result = torch.bmm(both, vectors.transpose(0, 1))
        result[:, 0] += gradient[:, :dim]
        return result.transpose(0, 1), None, None


class PaddedLinear(nn.Linear):
    """A layer for inputs with more columns than it has weights, which count for nothing."""

    def forward(self, inputs: Tensor) -> Tensor:
        columns = inputs.shape[1] - self.in_features
        return linear(inputs, pad(self.weight, (0, columns)) if columns else self.weight, self.bias)


def _mlp(widths: Sequence[int], device: torch.device) -> nn.Sequential:
    layers = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        layers += [PaddedLinear(inputs, outputs, device=device), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
