"""The keys of rnnt's mini.yaml and full.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from octathlon.settings import BenchmarkSettings

DATASET = "librispeech"

Share = Field(ge=0, lt=1)


class Settings(BenchmarkSettings):
    """RNN-T on LibriSpeech."""

    higher_is_better: Literal[False] = False
    pre_layers: PositiveInt = Field(description="LSTM layers of the encoder before two frames become one")
    post_layers: PositiveInt = Field(description="and after")
    encoder_width: PositiveInt
    prediction_layers: PositiveInt
    prediction_width: PositiveInt
    joint_width: PositiveInt
    encoder_dropout: float = Share
    prediction_dropout: float = Share
    joint_dropout: float = Share
    init_scale: PositiveFloat = Field(description="factor of the LSTMs' initial weights")
    base_learning_rate: PositiveFloat
    min_learning_rate: PositiveFloat
    warmup_epochs: NonNegativeInt
    hold_epochs: NonNegativeInt
    decay: float = Field(
        gt=0, le=1, description="factor of the learning rate, per epoch after warm-up and hold"
    )
    beta_1: float = Share
    beta_2: float = Share
    epsilon: PositiveFloat
    weight_decay: NonNegativeFloat
    clip_norm: PositiveFloat
    ema_factor: float = Field(ge=0, lt=1, description="of the averaged weights, which are evaluated")
    buckets: PositiveInt = Field(description="slices of utterances of like length that are shuffled apart")
    speed_percent: tuple[PositiveInt, PositiveInt] = Field(
        description="least and greatest length, speed changed"
    )
    max_prediction_symbols: PositiveInt = Field(description="word pieces after which decoding ends")
    eval_batch_size: PositiveInt = Field(description="utterances that a rank decodes at once")

    def learning_rate_ends(self) -> dict[str, float]:
        return {"min_learning_rate": self.min_learning_rate}
