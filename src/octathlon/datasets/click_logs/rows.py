"""The prepared format: rows of 40 little-endian int32, one after the other, without a header.

As the MLPerf reference's day_*.bin files (facebookresearch/dlrm, branch mlperf, data_utils.py): the label,
13 integers (negative ones set to 0, no logarithm yet), 26 indices into the embedding tables. Any row is
readable with one system call.
"""

from __future__ import annotations

import numpy as np

INTEGERS = 13
CATEGORIES = 26
COLUMNS = 1 + INTEGERS + CATEGORIES
FIRST_CATEGORY = 1 + INTEGERS
DTYPE = np.dtype("<i4")
ROW_BYTES = COLUMNS * DTYPE.itemsize
