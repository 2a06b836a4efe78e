"""The keys of bert's mini.yaml and full.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import BenchmarkSettings

DATASET = "wikipedia"


def evaluation_interval(global_batch_size: int) -> int:
    """Samples between evaluations, as the round prescribes (training_rules.adoc, appendix: evaluation frequency)."""
    return int(0.05 * (230.23 * global_batch_size + 3_000_000) / 25_000) * 25_000


class Settings(BenchmarkSettings):
    """BERT on Wikipedia."""

    start: Literal["checkpoint", "random"] = Field(description="what training continues from")
    layers: PositiveInt
    hidden: PositiveInt = Field(description="width of a state")
    heads: PositiveInt
    inner: PositiveInt = Field(description="width between a layer's two dense parts")
    hidden_dropout: float = Field(ge=0, lt=1)
    attention_dropout: float = Field(ge=0, lt=1, description="of attention's probabilities")
    initializer_range: PositiveFloat = Field(description="deviation of random weights (start: random)")
    base_learning_rate: PositiveFloat
    training_steps: PositiveInt = Field(
        description="where the learning rate's decay ends, counted from step 0"
    )
    num_warmup_steps: NonNegativeInt
    start_warmup_step: int = Field(description="the step from which the warm-up rises: 0 or before")
    decay_power: PositiveFloat
    beta_1: float = Field(ge=0, lt=1)
    beta_2: float = Field(ge=0, lt=1)
    epsilon: PositiveFloat
    weight_decay_rate: NonNegativeFloat
    clip_norm: PositiveFloat = Field(description="limit of the norm of all gradients together")

    def learning_rate_ends(self) -> dict[str, float]:
        steps, base = self.num_warmup_steps, self.base_learning_rate
        first = base * min(-self.start_warmup_step / steps, 1) if steps else base
        return {"start_warmup_step and num_warmup_steps": first}

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} does not divide into {self.heads} heads")
        interval = evaluation_interval(self.global_batch_size)
        if self.division == "closed" and not self.cadence.first == self.cadence.every == interval:
            raise ValueError(
                f"cadence: with a global_batch_size of {self.global_batch_size} the closed division evaluates "
                f"every {interval} samples: set first and every to {interval}"
            )
        return self
