"""The keys of resnet's mini.yaml and full.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import ImageSettings

DATASET = "imagenet"


class Settings(ImageSettings):
    """ResNet on ImageNet."""

    image_size: PositiveInt = Field(description="pixels of a side, into the network")
    eval_short_side: PositiveInt = Field(
        description="pixels of an evaluation image's shorter side before the crop"
    )
    decode_on_device: bool = Field(
        False,
        description="the loader's workers only read, and the training device decodes whole batches of JPEGs; not "
        "measured on a GPU yet",
    )
    blocks: tuple[PositiveInt, ...] = Field(description="bottlenecks of each stage")
    width: PositiveInt = Field(description="channels of the stem")
    label_smoothing: float = Field(ge=0, lt=1)
    optimizer: Literal["lars", "sgd"]
    base_learning_rate: PositiveFloat = Field(description="at the end of the warm-up")
    end_learning_rate: NonNegativeFloat
    decay_power: PositiveFloat
    warmup_epochs: NonNegativeInt
    planned_epochs: PositiveInt = Field(description="where the learning rate's decay ends")
    momentum: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat = Field(description="as the round logs it; sgd: factor of the L2 loss")

    @model_validator(mode="after")
    def _crop_fits(self) -> Settings:
        if self.eval_short_side <= self.image_size:  # the side may come out one pixel shorter
            raise ValueError(
                f"eval_short_side {self.eval_short_side} must exceed image_size {self.image_size}"
            )
        return self

    @model_validator(mode="after")
    def _decay_follows_the_warm_up(self) -> Settings:
        if self.warmup_epochs > self.planned_epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} must not exceed planned_epochs {self.planned_epochs}, where the "
                "decay ends"
            )
        return self

    def learning_rate_ends(self) -> dict[str, float]:
        return {"end_learning_rate": self.end_learning_rate}
