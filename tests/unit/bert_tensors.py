"""A checkpoint of the reference's kind: weights of many layers, the optimizer's slots and numbers, as files."""

from __future__ import annotations

import numpy as np

from octathlon.miniatures import tensor_bundle

rng = np.random.default_rng(3)
WEIGHTS = {
    f"bert/encoder/layer_{layer}/{name}/dense/{kind}": rng.normal(size=shape).astype("<f4")
    for layer in range(12)
    for name in ("intermediate", "output")
    for kind, shape in (("kernel", (3, 5)), ("bias", (5,)))
}
SLOTS = {
    f"{name}/{slot}": np.zeros_like(value) for name, value in WEIGHTS.items() for slot in ("LAMB", "LAMB_1")
}
NUMBERS = {"global_step": np.int64(28252), "beta1_power": np.float32(0.9), "beta2_power": np.float32(0.99)}
ALL = WEIGHTS | SLOTS | {name: np.asarray(value) for name, value in NUMBERS.items()}
INDEX, DATA = tensor_bundle.index_file(ALL), tensor_bundle.data_file(ALL)
