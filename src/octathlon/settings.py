"""What every benchmark's settings have in common. No torch: the workflow reads them before any job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from octathlon import names
from octathlon.errors import OctathlonError

Location = Annotated[str, AfterValidator(names.location)]
"""A path or URL."""

Pieces = Annotated[int, Field(gt=0, le=10_000)]
"""Files or jobs that something is cut into, all of which the workflow plans with."""

Size = Annotated[int, Field(gt=0, le=10**10)]


class Strict(BaseModel):
    """A model whose unknown keys, infinities and NaNs are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CadenceSettings(Strict):
    """When to evaluate, see `contracts.Cadence`."""

    unit: Literal["epochs", "samples"]
    first: PositiveFloat
    every: PositiveFloat
    limit: PositiveFloat


class BenchmarkSettings(Strict):
    """The keys that each `mini.yaml` and `full.yaml` gives, whatever the benchmark."""

    runs: PositiveInt = Field(description="timed runs; the round's number at full scale")
    division: Literal["closed", "open"]
    target: dict[str, float] = Field(min_length=1, description="metric -> threshold")
    higher_is_better: bool = True
    cadence: CadenceSettings
    global_batch_size: PositiveInt = Field(description="samples of one optimizer update, over all ranks")
    gradient_accumulation_steps: PositiveInt = Field(description="micro-batches of one optimizer update")
    precision: Literal["fp32", "bf16"] = Field(description="autocast type of forward and loss")
    compile: Literal["none", "default", "reduce-overhead"] = Field(
        "none", description="torch.compile's mode for the model's parts; reduce-overhead: with CUDA graphs"
    )
    keep_weights: bool = Field(True, description="leave the trained weights beside the log")
    checkpoint_minutes: float = Field(
        0,
        ge=0,
        le=10_000,
        description="between two checkpoints that an interrupted run goes on from; 0: none",
    )
    loader_workers: int = Field(
        ge=0, description="worker processes that read data, per rank; 0: in the run itself"
    )

    def local_batch_size(self, world: int) -> int:
        """Samples of one micro-batch on one of `world` ranks.

        Raises:
            OctathlonError: if the global batch does not divide evenly.
        """
        parts = world * self.gradient_accumulation_steps
        if self.global_batch_size % parts:
            raise OctathlonError(
                f"global_batch_size {self.global_batch_size} does not divide into {world} ranks x "
                f"{self.gradient_accumulation_steps} accumulation steps: choose a multiple of {parts}"
            )
        return self.global_batch_size // parts

    def learning_rate_ends(self) -> dict[str, float]:
        """The rates at which the schedule's parts begin and end, each under the keys that make it; default: none, where
        no settings can lead a schedule out of its bounds.

        A part only rises or only falls, so if these lie between 0 and `base_learning_rate`, all rates do.
        """
        return {}

    @model_validator(mode="after")
    def _learning_rates_keep_their_bounds(self) -> BenchmarkSettings:
        for keys, rate in self.learning_rate_ends().items():
            if not 0 <= rate <= self.base_learning_rate:
                raise ValueError(
                    f"with these {keys} the learning rate would be {rate:g}: change them so that it stays between 0 "
                    f"and the base_learning_rate of {self.base_learning_rate:g}"
                )
        return self

    def training(self) -> dict[str, Any]:
        """All that a run depends on: every key but the number of runs (one more run reruns no other)."""
        return self.model_dump(exclude={"runs"})


class ImageSettings(BenchmarkSettings):
    """The keys of benchmarks that train convolutions on images or volumes."""

    channels_last: bool = Field(
        True,
        description="weights and images lie in memory with their channels last, as GPUs want it; large networks are "
        "faster without it on CPUs",
    )


class DatasetSettings(Strict):
    """The keys of each data set's `mini.yaml` and `full.yaml`."""

    source: Location = Field(
        description="miniature, upstream, or a folder or URL prefix that holds the upstream archives"
    )
    archive_sources: dict[str, Location] = Field(
        default={}, description="archive -> its own source, for those that come from elsewhere"
    )
    miniature: dict[str, Annotated[int, Field(gt=0, le=10**9)]] = Field(
        default={}, description="sizes of the miniature, for the data set's writer"
    )
    synthetic: dict[str, Size | list[Size]] = Field(
        default={},
        description="samples of the data set in `train` and `eval`, and sizes of the made-up one that stands for it in "
        "a rehearsal",
    )

    def source_of(self, archive: str) -> str:
        """Where an archive comes from."""
        return self.archive_sources.get(archive, self.source)

    def preparation(self) -> dict[str, Any]:
        """All that the prepared data depend on beside the archives."""
        return self.model_dump(exclude={"source", "archive_sources", "miniature", "synthetic"})
