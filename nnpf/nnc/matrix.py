"""What is coded as one matrix, and with which tools: the terms between the encoder and its compiled parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.settings import Search
from nnpf.nnc.syntax import Codebook


@dataclass(frozen=True, slots=True)
class Matrix:
    """Levels to code, and what coder and decoder both know about them.

    levels: quantised integers, or indices into the codebook relative to its zero; flat, row by row.
    code: the coded quantisation parameter (None for integers) and its bits.
    reference, history: of an update, see `nnpf.nnc.decoder.Reference`.
    limited: the codebook whose size limits the levels: none in edition 1.
    """

    levels: NDArray[np.int32]
    height: int
    width: int
    code: tuple[int, int] | None
    limited: Codebook | None = None
    reference: NDArray[np.int16] | None = None
    history: NDArray[np.uint8] | None = None

    @property
    def is_matrix(self) -> bool:
        return self.height > 1 and self.width > 1


@dataclass(frozen=True, slots=True)
class Tools:
    """How the matrices of a unit are coded. row_skip: None leaves it to the cost. update: the unit has a parent."""

    flags: int = 11
    scan_order: int = 0
    dependent: bool = True
    search: Search = "exact"
    row_skip: bool | None = False
    update: bool = False
    edition2: bool = True

    def edge(self, m: Matrix) -> int:
        return 4 << self.scan_order if self.scan_order and m.is_matrix else 0
