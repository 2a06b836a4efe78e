"""The keys of unet3d's mini.yaml and full.yaml."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import ImageSettings

DATASET = "kits19"


class Settings(ImageSettings):
    """3D U-Net on KiTS19."""

    patch_size: PositiveInt = Field(
        description="voxels of a side of the cubes that are trained on and predicted"
    )
    overlap: float = Field(ge=0, lt=1, description="of neighbouring patches, in evaluation")
    oversampling: float = Field(
        ge=0, le=1, description="part of the training crops that aim at a foreground class"
    )
    filters: tuple[PositiveInt, ...] = Field(
        min_length=1, description="channels of each level but the deepest"
    )
    bottleneck: PositiveInt = Field(description="channels of the deepest level")
    base_learning_rate: PositiveFloat = Field(description="after the warm-up")
    initial_learning_rate: NonNegativeFloat = Field(description="where the warm-up starts, at epoch 0")
    warmup_epochs: NonNegativeInt
    decay_epochs: tuple[PositiveInt, ...] = Field(description="after each of these the learning rate drops")
    decay_factor: PositiveFloat = Field(description="factor of each drop")
    momentum: float = Field(gt=0, lt=1, description="Nesterov's")
    weight_decay: NonNegativeFloat

    @model_validator(mode="after")
    def _patch_fits(self) -> Settings:
        least = 2 ** (len(self.filters) + 1)  # instance norm needs more than one voxel at the deepest level
        if self.patch_size % (least // 2) or self.patch_size < least:
            raise ValueError(
                f"patch_size {self.patch_size} must be a multiple of {least // 2}, and at least {least}, "
                f"for {len(self.filters)} filters"
            )
        if self.patch_size * (1 - self.overlap) % 1:
            raise ValueError(
                f"overlap {self.overlap} of patch_size {self.patch_size} is no whole number of voxels"
            )
        return self

    def learning_rate_ends(self) -> dict[str, float]:
        base, initial, epochs = self.base_learning_rate, self.initial_learning_rate, self.warmup_epochs
        first = initial + (base - initial) / epochs if epochs else base
        dropped = base * self.decay_factor if self.decay_epochs else base
        return {"initial_learning_rate and warmup_epochs": first, "decay_epochs and decay_factor": dropped}

    @property
    def stride(self) -> int:
        """Voxels from patch to patch in evaluation."""
        return int(self.patch_size * (1 - self.overlap))
