"""Codebooks: the distinct integers of a tensor, and which of them is coded as zero."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.bits import Writer
from nnpf.nnc.codeword import CodewordWriter
from nnpf.nnc.matrix import Matrix, Tools
from nnpf.nnc.quantization import quantized_levels
from nnpf.nnc.settings import DEFAULT_UNARY_LENGTH, Settings
from nnpf.nnc.syntax import Codebook, codebook

# codebook_egk has 4 bits.
EGK_VALUES = 16

# Beyond this many entries only the most frequent integer is tried as zero: every trial codes the whole tensor.
TRIALS = 256


@dataclass(frozen=True, slots=True)
class Coded:
    indices: NDArray[np.int32]  # relative to the codebook's zero
    qp: int
    codebook: Codebook


def codebook_bits(book: Codebook) -> int:
    """Bits of a codebook in a header."""
    s = Writer()
    codebook(s, replace(book), "")
    return s.position


def _size(levels: NDArray[np.int32], height: int, width: int, tools: Tools) -> int:
    """Bytes of a codeword with these levels and nothing else."""
    writer = CodewordWriter(levels.size + 256)
    writer.matrix(Matrix(levels, height, width, None), tools)
    return len(writer.finish())


def with_codebook(
    weights: NDArray[np.float32], height: int, width: int, qp: int, settings: Settings, scan_order: int
) -> Coded | None:
    """Indices into the codebook of a tensor; None where `settings.codebook` is "auto" and other coding is smaller."""
    dependent = settings.dependent
    own_qp = qp - (1 << settings.qp_density) if dependent else qp
    integers, used_qp = quantized_levels(weights, height, width, own_qp, settings.qp_density, scan_order, False)
    values, inverse = np.unique(integers, return_inverse=True)
    indices: NDArray[np.int32] = inverse.reshape(-1).astype(np.int32)
    flags = (settings.unary_length or DEFAULT_UNARY_LENGTH) - 1
    # Trials as NNCodec makes them: edition 1, one greater-than flag less, row by row.
    trial = Tools(flags=flags, dependent=False, search=settings.search, edition2=False)
    candidates = range(len(values))
    if len(values) > TRIALS:
        most = int(np.bincount(indices).argmax())
        candidates = range(most, most + 1)
    zero = min(candidates, key=lambda z: (_size(indices - np.int32(z), height, width, trial), z))
    book = Codebook(0, zero, tuple(int(v) for v in values))
    book.egk = min(range(EGK_VALUES), key=lambda egk: (codebook_bits(replace(book, egk=egk)), egk))
    indices = indices - np.int32(zero)
    if settings.codebook == "auto":
        tools = Tools(
            flags=flags,
            scan_order=scan_order if height > 1 and width > 1 else 0,
            dependent=dependent,
            search=settings.search,
        )
        levels = integers
        if dependent:
            levels, _ = quantized_levels(weights, height, width, qp, settings.qp_density, scan_order, True)
        plain = _size(levels, height, width, tools)
        header = codebook_bits(book)
        # NNCodec adds the bits of the codebook to the bytes of the rest.
        extra = header if settings.search == "nncodec" else header / 8
        if _size(indices, height, width, replace(tools, dependent=False)) + extra >= plain:
            return None
    return Coded(indices, used_qp, book)
