"""The checkpoint that the miniature of BERT starts from: the reference's tensors at another size."""

from __future__ import annotations

import numpy as np

POSITIONS = 32
"""The longest sequence that there are positions for."""


def tensors(seed: int, vocabulary: int, layers: int, hidden: int, inner: int) -> dict[str, np.ndarray]:
    """The reference checkpoint's tensors at another size, with the optimizer's slots.

    As in the reference's, something is there already: positions are waves, in which neighbours are easily found. All
    else is freshly initialised.
    """
    rng = np.random.default_rng([seed, 5])
    deviation = 0.02 * (1024 / hidden) ** 0.5  # the reference's 0.02 at its width, and more at a smaller one
    shapes = _shapes(layers, hidden, inner, vocabulary)
    weights = {name: _initial(rng, name, shape, deviation) for name, shape in shapes.items()}
    weights["bert/embeddings/position_embeddings"] = _waves(hidden)
    slots = {
        f"{name}/{slot}": np.zeros_like(tensor)
        for name, tensor in weights.items()
        for slot in ("LAMB", "LAMB_1")
    }
    powers = {
        "beta1_power": np.float32(0.9),
        "beta2_power": np.float32(0.999),
        "global_step": np.int64(28252),
    }
    return weights | slots | {name: np.asarray(value) for name, value in powers.items()}


def _waves(hidden: int) -> np.ndarray:
    """Sines and cosines of many wave lengths (Vaswani et al. 2017), of shape (POSITIONS, hidden)."""
    angles = np.arange(POSITIONS)[:, None] * 100.0 ** -np.linspace(0, 1, hidden // 2, endpoint=False)
    return (0.1 * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).astype("<f4")


def _initial(rng: np.random.Generator, name: str, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Layer norms start at 1 and 0, biases at 0, all else at random numbers."""
    if name.endswith("gamma"):
        return np.ones(shape, "<f4")
    if name.endswith(("beta", "bias")):
        return np.zeros(shape, "<f4")
    return _truncated(rng, shape, deviation)


def _truncated(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Normal numbers, cut off at two deviations."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(outside.sum())
    return (values * deviation).astype("<f4")


def _shapes(layers: int, hidden: int, inner: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the 14 + 16 x layers tensors; kernels are (inputs, outputs)."""
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (vocabulary, hidden),
        "bert/embeddings/position_embeddings": (POSITIONS, hidden),
        "bert/embeddings/token_type_embeddings": (2, hidden),
        "cls/predictions/output_bias": (vocabulary,),
        "cls/seq_relationship/output_weights": (2, hidden),
        "cls/seq_relationship/output_bias": (2,),
    }
    dense = {"bert/pooler/dense": (hidden, hidden), "cls/predictions/transform/dense": (hidden, hidden)}
    norms = ["bert/embeddings/LayerNorm", "cls/predictions/transform/LayerNorm"]
    for layer in range(layers):
        prefix = f"bert/encoder/layer_{layer}"
        dense |= {f"{prefix}/attention/self/{part}": (hidden, hidden) for part in ("query", "key", "value")}
        dense[f"{prefix}/attention/output/dense"] = (hidden, hidden)
        dense[f"{prefix}/intermediate/dense"] = (hidden, inner)
        dense[f"{prefix}/output/dense"] = (inner, hidden)
        norms += [f"{prefix}/attention/output/LayerNorm", f"{prefix}/output/LayerNorm"]
    for name, shape in dense.items():
        shapes |= {f"{name}/kernel": shape, f"{name}/bias": shape[1:]}
    for name in norms:
        shapes |= {f"{name}/gamma": (hidden,), f"{name}/beta": (hidden,)}
    return shapes
