"""DLRM with dot interaction (Naumov et al. 2019, arXiv:1906.00091), as in the MLPerf reference.

Initialisation and the order of the products: dlrm_s_pytorch.py (facebookresearch/dlrm, branch mlperf).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from octathlon.nn.embeddings import ShardedEmbeddings


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
        below = torch.tril_indices(vectors, vectors, offset=-1)
        self.register_buffer("_pairs", (below[0] * vectors + below[1]).to(device), persistent=False)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The reference's distributions."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.in_features + layer.out_features)))
                nn.init.normal_(layer.bias, std=math.sqrt(1 / layer.out_features))
        self.embeddings.reset_parameters()

    def forward(self, integers: Tensor, indices: Tensor) -> Tensor:
        dense = self.bottom_mlp(integers)
        hidden = self.top_mlp[:-1](self.interact(dense, self.embeddings(indices)))
        with torch.autocast(hidden.device.type, enabled=False):
            return self.top_mlp[-1](hidden.float()).squeeze(1)

    def interact(self, dense: Tensor, embedded: Tensor) -> Tensor:
        """`dense` and the products of all pairs of vectors: (1, 0), (2, 0), (2, 1), ... with `dense` as 0.

        Args:
            dense: of shape (N, dim).
            embedded: of shape (N, tables, dim).
        """
        vectors = torch.cat([dense.unsqueeze(1), embedded], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        return torch.cat([dense, products.flatten(1).index_select(1, self._pairs)], dim=1)


def _mlp(widths: Sequence[int], device: torch.device) -> nn.Sequential:
    layers = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(inputs, outputs, device=device), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
