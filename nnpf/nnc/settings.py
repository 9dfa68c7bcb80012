"""How a model is to be coded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nnpf.nnc.errors import NncError
from nnpf.nnc.syntax import ParameterTypes

Search: TypeAlias = Literal["none", "nncodec", "exact"]
"""How estimator parameters are chosen: all at their default; as NNCodec does it (it counts other bins than it codes);
by what the bins cost."""

# Where neither the settings nor the levels say anything: what NNCodec uses.
DEFAULT_UNARY_LENGTH = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Tensors of one layer that share a unit, by name. Low rank: `g` and `h` stand for the weight, their product."""

    weight: str
    local_scaling: str | None = None
    bn_beta: str | None = None
    bn_gamma: str | None = None
    bn_mean: str | None = None
    bn_var: str | None = None
    bias: str | None = None
    g: str | None = None
    h: str | None = None
    shape: tuple[int, ...] | None = None
    """Of the weight, where G and H stand for it."""

    @property
    def norm(self) -> tuple[str, ...]:
        return tuple(n for n in (self.bn_beta, self.bn_gamma, self.bn_mean, self.bn_var) if n)

    @property
    def types(self) -> int:
        """compressed_parameter_types"""
        return int(
            (ParameterTypes.NNR_CPT_DC if self.g else 0)
            | (ParameterTypes.NNR_CPT_LS if self.local_scaling else 0)
            | (ParameterTypes.NNR_CPT_BN if self.norm else 0)
            | (ParameterTypes.NNR_CPT_BI if self.bias else 0)
        )

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.g, self.h) if self.g and self.h else (self.weight,)

    @property
    def named(self) -> tuple[str, ...]:
        """In the order of the names in the header."""
        return (*self.weights, *filter(None, [self.local_scaling]), *self.norm, *filter(None, [self.bias]))

    @property
    def coded(self) -> tuple[str, ...]:
        """In the order of the codeword."""
        return (*filter(None, [self.local_scaling]), *filter(None, [self.bias]), *self.norm, *self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How tensors are coded.

    `qp` is the quantisation parameter of tensors with two or more dimensions, `nonweight_qp` that of all others
    (default: the same step). The step doubles every 2^qp_density.
    """

    qp: int = -38
    nonweight_qp: int | None = None
    tensor_qp: Mapping[str, int] = field(default_factory=dict)
    """Tensors with a parameter of their own."""
    qp_density: int = 2
    dependent: bool = True
    """Dependent quantisation (a trellis of eight states) instead of uniform."""
    bit_depth: int | None = None
    """Integers of this many bits, by each tensor's own range, instead of `qp`. Uniform only."""
    scale_by_size: bool = False
    """Larger layers get larger steps (NNCodec's opt_qp)."""
    codebook: Literal["off", "always", "auto"] = "off"
    scan_order: int | None = None
    """0: row by row; 1..4: in blocks of 8..64, with entry points. None: for each tensor what makes it small."""
    unary_length: int | None = None
    """Greater-than flags of a level. None: for each tensor what makes it small."""
    row_skip: bool | None = None
    """Signal rows that are zero. None: where it makes the tensor smaller."""
    search: Search = "exact"
    rate_distortion: float = 0.8
    """Weight of the rate when levels are chosen: 0 is nearest levels, 1 the slope of distortion at high rate."""
    rounds: int = 4
    """Rounds of coding and choosing levels, at most. Fewer are made where nothing is gained any more."""
    step_search: bool = False
    """Try the neighbouring steps for every tensor, and keep the one with the least distortion and rate. Three times
    the work."""
    lossless: bool = False
    """Floats as they are, bit by bit."""
    raw: Collection[str] = ()
    """Tensors whose floats are coded as they are."""
    fold_batch_norm: bool = False
    """Batch normalisation of blocks becomes local scaling and bias."""
    temporal: bool = True
    """Updates: contexts chosen by the update before."""
    history: bool = True
    """Updates: contexts chosen by which weights have changed so far, where that makes the tensor smaller."""
    compact: bool = True
    """Leave out what no decoder needs: an empty topology unit, and node ids where no update will refer to them."""
    threads: int | None = None

    def check(self) -> None:
        """NncError where the settings contradict each other or a header cannot carry them."""
        if not 0 <= self.qp_density <= 7:
            raise NncError(f"a density of {self.qp_density}; 3 bits carry it", field="mps_qp_density")
        if self.unary_length is not None and not 1 <= self.unary_length <= 256:
            raise NncError(f"a unary length of {self.unary_length}", field="cabac_unary_length_minus1")
        if self.scan_order is not None and not 0 <= self.scan_order <= 4:
            raise NncError(f"scan order {self.scan_order}", field="scan_order")
        if self.bit_depth is not None:
            if not 2 <= self.bit_depth <= 24:
                raise NncError(f"integers of {self.bit_depth} bits")
            if self.dependent:
                # Clipping an integer breaks the parity that carries the quantiser's state.
                raise NncError("a bit depth needs uniform quantisation: dependent=False")


NNCODEC = Settings(
    nonweight_qp=-75,
    scan_order=0,
    unary_length=11,
    row_skip=False,
    search="nncodec",
    rate_distortion=0.0,
    rounds=2,
    compact=False,
)
"""What NNCodec 2.1.3 does by default, byte for byte."""
