"""The tensors of the network under TensorFlow's names, which the rules' logs use, and under ours."""

from __future__ import annotations

TRANSPOSED = {4: (3, 2, 0, 1), 2: (1, 0)}
"""Axes of TensorFlow's kernels (height, width, in, out; in, out) in PyTorch's order."""


def tensor_names(blocks: int) -> dict[str, str]:
    """TensorFlow's name -> name in the state of `DualNetwork`, for a tower of `blocks` blocks.

    TensorFlow numbers layers as they are made: input, tower, policy head, value head.
    """
    tower = [f"tower.{block}.{{}}{half}" for block in range(blocks) for half in (1, 2)]
    layers = ["{}", *tower, "policy_{}", "value_{}"]
    names = {}
    for number, layer in enumerate(layers):
        suffix = f"_{number}" if number else ""
        names[f"conv2d{suffix}/kernel"] = f"{layer.format('conv')}.weight"
        norm, ours = f"batch_normalization{suffix}", layer.format("bn")
        if number <= 2 * blocks:  # the heads' have no parameters
            names |= {f"{norm}/gamma": f"{ours}.weight", f"{norm}/beta": f"{ours}.bias"}
        names |= {
            f"{norm}/moving_mean": f"{ours}.running_mean",
            f"{norm}/moving_variance": f"{ours}.running_var",
        }
    for theirs, ours in (("dense", "policy"), ("dense_1", "value1"), ("dense_2", "value2")):
        names |= {f"{theirs}/kernel": f"{ours}.weight", f"{theirs}/bias": f"{ours}.bias"}
    return names
