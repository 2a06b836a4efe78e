"""The keys of dlrm's mini.yaml and full.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import BenchmarkSettings

DATASET = "click_logs"


class Settings(BenchmarkSettings):
    """DLRM on the click logs."""

    loader_workers: Literal[0, 1] = Field(description="1: a thread of the run reads ahead; 0: none does")
    bottom_mlp: tuple[PositiveInt, ...] = Field(
        min_length=1,
        description="outputs of the layers for the integers; the last is the embeddings' dimension",
    )
    top_mlp: tuple[PositiveInt, ...] = Field(description="outputs of the layers before the last, which has 1")
    base_learning_rate: PositiveFloat = Field(description="between warm-up and decay")
    warmup_steps: NonNegativeInt = Field(description="updates until the base learning rate is reached")
    decay_start_steps: NonNegativeInt = Field(description="the update at which the decay begins")
    decay_steps: PositiveInt = Field(description="updates of the decay; 0 is reached then")
    decay_power: PositiveFloat
    eval_batch_size: PositiveInt = Field(description="rows evaluated at a time, per rank")
    cuda_graph: bool = Field(
        False, description="replay each update as one CUDA graph; without a GPU: nothing"
    )

    @model_validator(mode="after")
    def _graph_is_a_whole_update(self) -> Settings:
        if self.cuda_graph and self.gradient_accumulation_steps > 1:
            raise ValueError("cuda_graph takes a global batch as one: set gradient_accumulation_steps to 1")
        return self
