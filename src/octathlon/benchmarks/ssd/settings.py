"""The keys of ssd's mini.yaml and full.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import ImageSettings

DATASET = "coco"


class Settings(ImageSettings):
    """SSD on COCO."""

    image_size: PositiveInt = Field(description="pixels of a side, into the network")
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="basic blocks of each stage")
    width: PositiveInt = Field(description="channels of the stem")
    extras: tuple[tuple[PositiveInt, PositiveInt, Literal[1, 2]], ...] = Field(
        description="blocks after the backbone: channels of the 1x1 and of the 3x3 convolution, stride"
    )
    feature_sizes: tuple[PositiveInt, ...] = Field(description="cells of a side of each feature map")
    steps: tuple[PositiveFloat, ...] = Field(description="pixels of a cell's side")
    scales: tuple[PositiveFloat, ...] = Field(
        description="default boxes' sides in pixels; one more than maps"
    )
    aspect_ratios: tuple[tuple[PositiveFloat, ...], ...] = Field(description="of default boxes, beside 1")
    max_samples: Literal[1, 50] = Field(description="tries of a crop before its condition is drawn anew")
    learning_rate_per_32: PositiveFloat = Field(description="for each 32 images of the global batch")
    warmup_epochs: PositiveFloat
    warmup_factor: NonNegativeInt = Field(description="the warm-up starts at (1 - 2^-factor) of the rate")
    decay_epochs: tuple[PositiveInt, PositiveInt] = Field(
        description="finished epochs at which the rate drops"
    )
    momentum: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat

    @property
    def base_learning_rate(self) -> float:
        """The rate after the warm-up."""
        return self.learning_rate_per_32 * self.global_batch_size / 32

    @model_validator(mode="after")
    def _maps_agree(self) -> Settings:
        maps = len(self.extras) + 1
        given = {
            "feature_sizes": len(self.feature_sizes),
            "steps": len(self.steps),
            "scales": len(self.scales) - 1,
            "aspect_ratios": len(self.aspect_ratios),
        }
        for key, count in given.items():
            if count != maps:
                raise ValueError(
                    f"{key} is for {count} feature maps, but the {len(self.extras)} extras make {maps}"
                )
        return self
