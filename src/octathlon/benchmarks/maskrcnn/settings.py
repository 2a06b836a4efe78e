"""The keys of maskrcnn's mini.yaml and full.yaml."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import ImageSettings

DATASET = "coco"


class Settings(ImageSettings):
    """Mask R-CNN on COCO."""

    min_image_size: PositiveInt = Field(description="pixels of the shorter side, into the network")
    max_image_size: PositiveInt = Field(description="pixels that the longer side does not exceed")
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        description="bottlenecks of each stage"
    )
    width: PositiveInt = Field(description="channels of the stem")
    pyramid_channels: PositiveInt
    anchor_sizes: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        description="pixels, of the pyramid's levels with strides 4 to 64"
    )
    proposals_before_nms: PositiveInt = Field(description="of each level of an image, in training")
    eval_proposals: PositiveInt = Field(
        description="of each level before and of an image after NMS, in evaluation"
    )
    image_candidates: PositiveInt = Field(
        description="proposals of an image after NMS, in training, on average"
    )
    anchor_samples: PositiveInt = Field(description="anchors of an image that the proposals' loss takes")
    box_samples: PositiveInt = Field(description="proposals of an image that the heads' losses take")
    canonical_size: PositiveInt = Field(
        description="side of a box that is pooled from the level of stride 16"
    )
    box_channels: PositiveInt = Field(description="of the box head's two layers")
    mask_channels: PositiveInt = Field(
        description="of the mask head's four convolutions and its deconvolution"
    )
    base_learning_rate: PositiveFloat = Field(
        description="after the warm-up, of weights; that of biases is twice it"
    )
    warmup_steps: NonNegativeInt
    warmup_factor: PositiveFloat = Field(description="what the rate grows by in each step of the warm-up")
    decay_steps: tuple[PositiveInt, PositiveInt] = Field(
        description="steps at which the rate drops to a tenth"
    )
    momentum: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat = Field(description="of weights; biases have none")

    def learning_rate_ends(self) -> dict[str, float]:
        lacking = max(self.warmup_steps - 1, 0) * self.warmup_factor
        return {"warmup_steps and warmup_factor": self.base_learning_rate - lacking}

    @model_validator(mode="after")
    def _compiles_for_all_shapes(self) -> Settings:
        if self.compile != "none" and not self.channels_last:
            raise ValueError(
                "without channels_last PyTorch compiles for the first images' shape alone (torch 2.14), and fails at "
                "others: set channels_last to true, or compile to none"
            )
        return self
