"""Which contexts of a tensor have estimator parameters in the payload (ISO/IEC 15938-17, shift_parameter_ids())."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.syntax import Codebook
from nnpf.nnc.tables import (
    CONTEXTS_BEYOND_GREATER,
    GREATER,
    REMAINDER_CONTEXTS,
    SIG,
    SIG_HISTORY,
    SIG_TEMPORAL,
    SIGN,
)


def context_count(flags: int) -> int:
    """Contexts of a tensor with this many greater-than flags."""
    return GREATER + 4 * flags + CONTEXTS_BEYOND_GREATER


def signalled_contexts(
    flags: int,
    dependent: bool,
    temporal: bool,
    codebook: Codebook | None = None,
    remainder_sets: int = REMAINDER_CONTEXTS,
) -> NDArray[np.uint8]:
    """1 for every context whose parameter set is in the payload, in the order of the contexts.

    Those of the history count only where its flag is on, which the payload says before. codebook: one whose size
    limits the levels (edition 2); None for edition 1.
    """
    used = np.zeros(context_count(flags), dtype=np.uint8)
    remainder = GREATER + 4 * flags
    size = len(codebook.values) if codebook else 0
    if codebook and size == 1:
        return used
    largest = max(codebook.zero, size - 1 - codebook.zero) if codebook else 1 << 62
    used[SIG : SIG + (24 if dependent else 3)] = 1
    used[SIG_HISTORY : SIG_HISTORY + (8 if dependent else 1)] = 1
    if not codebook or 0 < codebook.zero < size - 1:
        used[SIGN : SIGN + (5 if temporal else 3)] = 1
    used[GREATER : GREATER + min(2 * flags, 2 * largest)] = 1
    if temporal:
        used[SIG_TEMPORAL : SIG_TEMPORAL + (16 if dependent else 2)] = 1
        used[GREATER + 2 * flags : GREATER + 2 * flags + min(2 * flags, 2 * (largest - 1))] = 1
    # Without flags (NNCodec's trials of codebooks only) an unsigned difference of its code leaves the remainder out.
    for j in range(remainder_sets if flags else 0):
        used[remainder + j] = flags - 1 + (1 << (j + 1)) - 1 < largest
    return used
