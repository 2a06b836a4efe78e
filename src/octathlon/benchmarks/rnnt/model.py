"""The recurrent neural network transducer (Graves 2012, arXiv:1211.3711) of the MLPerf reference.

An encoder listens (LSTM layers, two frames in a row become one, more layers), a prediction network reads what was
written so far, and a joint network says what comes next: one of the word pieces, or blank, the last of its outputs,
for "nothing more in this frame". Names and sizes: mlcommons/training, rnn_speech_recognition/pytorch/rnnt/model.py.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from octathlon.benchmarks.rnnt.loss import Lengths, transducer_loss

STACK = 2
"""Encoder frames that become one between the two stacks of layers."""
TENSOR_NAMES = ("pre_rnn", "post_rnn", "pred_embed", "dec_rnn", "joint_pred", "joint_enc", "joint_net")
"""The model's parts, as the round logs them."""

Count = TypeVar("Count", int, Tensor)
State = tuple[Tensor, Tensor]
"""Hidden and cell state of the prediction network, each of shape (layers, utterances, width)."""


class Transducer(nn.Module):
    """Features and word pieces -> loss; step by step: features -> word pieces.

    Args:
        features: of an encoder input frame.
        pieces: of the vocabulary; blank comes on top.
        pre_layers, post_layers: of the encoder, before and after the stacking of frames.
        init_scale: factor of all initial LSTM weights and biases.
    """

    def __init__(
        self,
        *,
        features: int,
        pieces: int,
        pre_layers: int,
        post_layers: int,
        encoder_width: int,
        prediction_layers: int,
        prediction_width: int,
        joint_width: int,
        encoder_dropout: float,
        prediction_dropout: float,
        joint_dropout: float,
        init_scale: float,
    ) -> None:
        super().__init__()
        self.blank = pieces
        self.pre_rnn = _LSTM(features, encoder_width, pre_layers, encoder_dropout, init_scale)
        self.post_rnn = _LSTM(STACK * encoder_width, encoder_width, post_layers, encoder_dropout, init_scale)
        self.pred_embed = nn.Embedding(pieces, prediction_width)
        self.dec_rnn = _LSTM(
            prediction_width, prediction_width, prediction_layers, prediction_dropout, init_scale
        )
        self.joint_pred = nn.Linear(prediction_width, joint_width)
        self.joint_enc = nn.Linear(encoder_width, joint_width)
        self.joint_net = nn.Sequential(
            nn.ReLU(), nn.Dropout(joint_dropout), nn.Linear(joint_width, pieces + 1)
        )

    def forward(self, features: Tensor, tokens: Tensor, lengths: Lengths) -> Tensor:
        """The mean loss of the utterances.

        Args:
            features: of shape (frames, utterances, features)
            tokens: of shape (utterances, tokens)
        """
        return transducer_loss(self.encode(features), self.read(tokens), self.joint_net, tokens, lengths)

    def encode(self, features: Tensor) -> Tensor:
        """The encoder's part of the joint network's input, of shape (utterances, T, joint width), with T =
        encoded_length(frames)."""
        early, _ = self.pre_rnn(features)
        late, _ = self.post_rnn(_stacked(early))
        return self.joint_enc(late).transpose(0, 1)

    def read(self, tokens: Tensor) -> Tensor:
        """The prediction network's part, of shape (utterances, tokens + 1, joint width)."""
        heads = self.pred_embed(tokens).transpose(0, 1)
        start = heads.new_zeros(1, *heads.shape[1:])  # before the first piece: no embedding, zeros
        read, _ = self.dec_rnn(torch.cat([start, heads]))
        return self.joint_pred(read).transpose(0, 1)

    def predict(self, tokens: Tensor | None, state: State | None, utterances: int) -> tuple[Tensor, State]:
        """One step of the prediction network: its part of the joint input, (utterances, joint width), and its state.

        Args:
            tokens: the pieces just written, of shape (utterances,); None at the start.
        """
        if tokens is None:
            inputs = self.pred_embed.weight.new_zeros(1, utterances, self.pred_embed.embedding_dim)
        else:
            inputs = self.pred_embed(tokens)[None]
        read, state = self.dec_rnn(inputs, state)
        return self.joint_pred(read[0]), state


def encoded_length(frames: Count) -> Count:
    """Frames that come out of the encoder."""
    return (frames + STACK - 1) // STACK


def _stacked(frames: Tensor) -> Tensor:
    """Each STACK frames in a row as one, the last filled up with zeros: (time, utterances, width) in and out."""
    frames = nn.functional.pad(frames, (0, 0, 0, 0, 0, -len(frames) % STACK))
    groups = frames.view(-1, STACK, *frames.shape[1:])
    return groups.transpose(1, 2).flatten(2)


class _LSTM(nn.LSTM):
    """LSTM layers with dropout also after the last one, forget gates that start open, and smaller weights."""

    def __init__(self, inputs: int, width: int, layers: int, dropout: float, init_scale: float) -> None:
        super().__init__(inputs, width, layers, dropout=dropout if layers > 1 else 0)
        self._last_dropout = nn.Dropout(dropout)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias"):  # gates in PyTorch's order: input, forget, cell, output
                    parameter[width : 2 * width] = 1.0 if name.startswith("bias_ih") else 0.0
                parameter *= init_scale

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        outputs, state = super().forward(inputs, state)
        return self._last_dropout(outputs), state
