"""The keys of minigo's mini.yaml and full.yaml."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import BenchmarkSettings

DATASET = "minigo_models"

Share = Field(ge=0, le=1)


class Settings(BenchmarkSettings):
    """Go by self-play."""

    board_size: PositiveInt = Field(ge=2, le=19, description="lines of the board")
    max_moves: PositiveInt = Field(le=10_000, description="a longer game is scored as it stands")
    keep_eyes: bool = Field(
        description="no stone in an own eye of one point, no pass while another move is left"
    )
    filters: PositiveInt = Field(description="of the network's convolutions")
    blocks: PositiveInt = Field(description="residual blocks")
    value_units: PositiveInt = Field(description="of the value head's hidden layer")
    lr_boundaries: tuple[PositiveInt, ...] = Field(description="global steps after which the next rate holds")
    lr_rates: tuple[PositiveFloat, ...] = Field(description="one more than boundaries")
    momentum: NonNegativeFloat
    weight_decay: NonNegativeFloat
    min_selfplay_games: PositiveInt = Field(
        description="games of a generation, and of each one in the window"
    )
    window: PositiveInt = Field(description="generations whose games are trained on")
    position_share: float = Field(gt=0, le=1, description="part of the window's positions that is trained on")
    concurrent_games: PositiveInt = Field(description="games that share a batch of the network, per process")
    selfplay_processes: NonNegativeInt = Field(description="per rank; 0: in the run itself")
    readouts: int = Field(ge=2, le=8000, description="of a full search")
    fast_readouts: int = Field(ge=2, description="of the other searches, which are not trained on")
    full_share: float = Field(
        gt=0, le=1, description="part of the moves, after the first, with a full search"
    )
    virtual_losses: PositiveInt = Field(le=8, description="leaves of a game in one batch")
    value_init_penalty: float = Field(
        ge=0, le=1, description="how much worse an action looks before it is tried"
    )
    noise_alpha: PositiveFloat = Field(description="Dirichlet noise on the root of full searches")
    noise_weight: float = Share
    draw_moves: NonNegativeInt = Field(description="first moves of a game, which are drawn by visits")
    resign_from: float = Field(
        ge=-1, le=0, description="the weakest resignation threshold of a game; -1: none"
    )
    resign_holdout: float = Field(ge=0, le=1, description="part of the games in which nobody may resign")
    eval_games: PositiveInt = Field(description="against the target model")
    eval_readouts: PositiveInt = Field(le=8000, description="of the trained model, for each move")
    target_readouts: PositiveInt = Field(le=8000, description="of the target model")

    @property
    def tree_nodes(self) -> int:
        """Room of a game's tree: several searches' readouts are kept at times. Numbers of nodes must fit 16 bits."""
        return 4 * max(self.readouts, self.eval_readouts, self.target_readouts) + 64

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if len(self.lr_rates) != len(self.lr_boundaries) + 1:
            raise ValueError("lr_rates must have one entry more than lr_boundaries")
        if list(self.lr_boundaries) != sorted(set(self.lr_boundaries)):
            raise ValueError(f"lr_boundaries {list(self.lr_boundaries)} must rise from one to the next")
        return self
