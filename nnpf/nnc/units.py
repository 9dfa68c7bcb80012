"""A payload as NNR units: cut into units, units read and written (ISO/IEC 15938-17, clauses on nnr_unit())."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from nnpf.nnc import syntax
from nnpf.nnc.bits import Reader, TraceEntry, Writer
from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
from nnpf.nnc.syntax import (
    CompressedDataUnit,
    LayerParameterSet,
    ModelParameterSet,
    PayloadType,
    Quantization,
    StreamParameters,
    Topology,
    UnitType,
)


@dataclass(slots=True)
class Start:
    """NNR_STR. Profile 0 is the syntax of edition 1, profile 1 that of edition 2."""

    general_profile_idc: int = 1


Header: TypeAlias = Start | ModelParameterSet | LayerParameterSet | Topology | Quantization | CompressedDataUnit

# The short size field holds 15 bits and counts itself.
SHORT_SIZE_BYTES = 2
LONG_SIZE_BYTES = 4
MAX_SHORT_UNIT = (1 << 15) - 1
MAX_LONG_UNIT = (1 << 31) - 1


@dataclass(slots=True)
class Unit:
    """One NNR unit. `header` holds all elements but those in `payload`: the coded tensors of an NDU, bytes of a unit
    whose syntax is not known. `problem` says why a unit could not be read to its end; its bytes are then in `payload`.
    """

    unit_type: int
    offset: int = 0
    size: int = 0
    long_size: bool = False
    independently_decodable_flag: int = 1
    partial_data_counter: int | None = None
    header: Header | None = None
    payload: bytes = b""
    payload_offset: int = 0
    problem: NncError | None = None
    trace: list[TraceEntry] = field(default_factory=list)

    @property
    def type_name(self) -> str:
        try:
            return UnitType(self.unit_type).name
        except ValueError:
            return f"NNR_RESERVED_{self.unit_type}"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors in an NDU."""
        return self.header.topology_elem_ids if isinstance(self.header, CompressedDataUnit) else ()

    def describe(self, index: int) -> str:
        """As errors name it."""
        names = ", ".join(repr(name) for name in self.names)
        return f"unit {index} {self.type_name} {names}".rstrip()


def _unreadable_figures(error: NncError) -> UnsupportedError:
    """Performance maps are for people, and known from an implementation that never wrote one: no reason to stop."""
    return UnsupportedError(f"performance figures: {error.problem}", offset=error.offset, field=error.field)


def _read_header(s: Reader, unit: Unit, p: StreamParameters) -> None:
    if unit.unit_type == UnitType.NNR_STR:
        unit.header = Start(s.u("general_profile_idc", 8))
    elif unit.unit_type == UnitType.NNR_MPS:
        unit.header = ModelParameterSet()
        syntax.model_parameter_set(s, unit.header, p)
        try:
            syntax.model_performance(s, unit.header, p)
        except NncError as error:
            raise _unreadable_figures(error) from None
    elif unit.unit_type == UnitType.NNR_LPS:
        unit.header = LayerParameterSet()
        syntax.layer_parameter_set(s, unit.header)
        try:
            syntax.layer_performance(s, unit.header)
        except NncError as error:
            raise _unreadable_figures(error) from None
    elif unit.unit_type == UnitType.NNR_TPL:
        unit.header = Topology()
        syntax.topology(s, unit.header)
    elif unit.unit_type == UnitType.NNR_QNT:
        unit.header = Quantization()
        syntax.quantization(s, unit.header)
    elif unit.unit_type == UnitType.NNR_NDU:
        unit.header = CompressedDataUnit()
        syntax.compressed_data_unit(s, unit.header, p)
    else:
        raise UnsupportedError(f"the syntax of {unit.type_name} is not known")


def _read_unit(data: bytes, offset: int, index: int, p: StreamParameters, trace: bool) -> Unit:
    s = Reader(data, offset, len(data))
    long_size = bool(s.u("nnr_unit_size_flag", 1))
    size = s.u("nnr_unit_size", 31 if long_size else 15)
    unit = Unit(unit_type=-1, offset=offset, size=size, long_size=long_size)
    smallest = (LONG_SIZE_BYTES if long_size else SHORT_SIZE_BYTES) + 1
    if not smallest <= size <= len(data) - offset:
        raise NncError(
            f"{size} bytes announced, {len(data) - offset} left",
            offset=offset,
            unit=f"unit {index}",
            field="nnr_unit_size",
        )
    if trace:
        s.trace = unit.trace
    s.end = (offset + size) * 8
    unit.unit_type = s.u("nnr_unit_type", 6)
    unit.independently_decodable_flag = s.u("independently_decodable_flag", 1)
    if s.u("partial_data_counter_present_flag", 1):
        unit.partial_data_counter = s.u("partial_data_counter", 8)
    start = s.byte_position
    try:
        _read_header(s, unit, p)
    except NncError as error:
        unit.problem = error.within(offset=offset, unit=unit.describe(index))
        s.position = start * 8
    unit.payload_offset = s.byte_position
    unit.payload = data[unit.payload_offset : offset + size]
    return unit


def read_units(
    data: bytes, p: StreamParameters | None = None, *, limits: Limits = DEFAULT_LIMITS, trace: bool = False
) -> Iterator[Unit]:
    """Cut a payload into units and read their headers, one after the other.

    `p` gives what an update refers to (shapes of the base); it is kept up to date with the units that pass by.
    A unit that cannot be read comes with its `problem`; NncError only where the cut itself fails.
    """
    p = p or StreamParameters()
    offset = 0
    index = 0
    while offset < len(data):
        if index >= limits.units:
            raise NncError(f"more than {limits.units} units", offset=offset)
        unit = _read_unit(data, offset, index, p, trace)
        if isinstance(unit.header, Start):
            p.general_profile_idc = unit.header.general_profile_idc
        elif isinstance(unit.header, ModelParameterSet):
            p.topology_indexed = bool(unit.header.mps_topology_indexed_reference_flag)
            p.parent_signalling = bool(unit.header.mps_parent_signalling_enabled_flag)
        elif isinstance(unit.header, Topology):
            p.element_ids = unit.header.topology_elem_ids
        yield unit
        offset += unit.size
        index += 1


def write_unit(unit: Unit, p: StreamParameters | None = None) -> bytes:
    """The bytes of a unit; the size field is computed, long where the unit says so or its size needs it."""
    p = p or StreamParameters()
    s = Writer()
    s.u("nnr_unit_type", 6, unit.unit_type)
    s.u("independently_decodable_flag", 1, unit.independently_decodable_flag)
    s.u("partial_data_counter_present_flag", 1, int(unit.partial_data_counter is not None))
    if unit.partial_data_counter is not None:
        s.u("partial_data_counter", 8, unit.partial_data_counter)
    header = unit.header
    # The descriptions assign what they return; a copy keeps the caller's header as it is.
    if unit.problem is not None:
        pass  # the payload then holds everything after the common header
    elif isinstance(header, Start):
        s.u("general_profile_idc", 8, header.general_profile_idc)
    elif isinstance(header, ModelParameterSet):
        mps = replace(header)
        syntax.model_parameter_set(s, mps, p)
        syntax.model_performance(s, mps, p)
    elif isinstance(header, LayerParameterSet):
        lps = replace(header)
        syntax.layer_parameter_set(s, lps)
        syntax.layer_performance(s, lps)
    elif isinstance(header, Topology):
        syntax.topology(s, replace(header))
    elif isinstance(header, Quantization):
        syntax.quantization(s, replace(header))
    elif isinstance(header, CompressedDataUnit):
        syntax.compressed_data_unit(s, replace(header), p)
    body = s.octets_written() + unit.payload
    size = len(body) + SHORT_SIZE_BYTES
    if unit.long_size or size > MAX_SHORT_UNIT:
        size = len(body) + LONG_SIZE_BYTES
        if size > MAX_LONG_UNIT:
            raise NncError(f"a unit of {size} bytes; the size field holds 31 bits", field="nnr_unit_size")
        return ((1 << 31) | size).to_bytes(LONG_SIZE_BYTES, "big") + body
    return size.to_bytes(SHORT_SIZE_BYTES, "big") + body


__all__ = [
    "Header",
    "PayloadType",
    "Start",
    "Unit",
    "UnitType",
    "read_units",
    "write_unit",
]
