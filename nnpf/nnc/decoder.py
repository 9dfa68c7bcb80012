"""Payloads to tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from nnpf.cores import available_cores
from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
from nnpf.nnc.quantization import LARGEST_FLOAT, step_size
from nnpf.nnc.syntax import (
    DATA_FORMATS,
    QUANTIZATION_METHODS,
    Codebook,
    CompressedDataUnit,
    EntryPoint,
    LayerParameterSet,
    ModelParameterSet,
    ParameterTypes,
    ParentNodeIdType,
    PayloadType,
    StreamParameters,
    Topology,
    UnitType,
    decomposed_shapes,
    weight_name,
)
from nnpf.nnc.tables import REFERENCE_LIMIT, REMAINDER_CONTEXTS, REMAINDER_CONTEXTS_V1
from nnpf.nnc.units import Start, Unit, read_units

Tensor = NDArray[np.float32] | NDArray[np.int32]

# Elements that are turned into floats at a time: small enough for the second-level cache.
CHUNK = 1 << 16

# Threads cost more than they bring for payloads below this.
PARALLEL_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Note:
    """Something in a payload that was not decoded, or not checked, and why."""

    offset: int
    unit: str
    message: str

    def __str__(self) -> str:
        return f"offset {self.offset}: {self.unit}: {self.message}"


@dataclass(frozen=True, slots=True)
class CodedTensor:
    """How one tensor was coded."""

    name: str
    shape: tuple[int, ...]
    payload_type: PayloadType
    unit: int  # index in the payload
    unit_bytes: int
    shared: int  # tensors that the unit holds
    dependent: bool = False
    qp: int | None = None
    step: float | None = None
    codebook_size: int = 0
    unary_length: int = 0
    scan_order: int = 0
    row_skip: bool = False
    temporal: bool = False
    history: bool = False
    update: bool = False
    device_id: int = 0
    parameter_id: int = 0
    put_node_depth: int = 0
    largest: int = 0  # magnitude of the levels


@dataclass(frozen=True, slots=True)
class Reference:
    """What a later update of a tensor refers to."""

    levels: NDArray[np.int16]  # of the last unit of this tensor, clipped to REFERENCE_LIMIT, flat
    history: NDArray[np.uint8] | None  # 1 where an update was not zero
    device_id: int
    parameter_id: int
    put_node_depth: int
    payload: bytes  # of the unit: what the hash of a parent is taken of


@dataclass(slots=True)
class Decoded:
    """One payload, decoded."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    coded: list[CodedTensor] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    profile: int = 1
    mps: ModelParameterSet | None = None
    topology: Topology | None = None

    @property
    def is_difference(self) -> bool:
        """Whether the payload says of itself that its tensors are to be added to those of a base model."""
        return any(c.update for c in self.coded)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One tensor in the codeword of a unit."""

    name: str
    shape: tuple[int, ...]
    codebook: Codebook | None

    @property
    def height(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def width(self) -> int:
        return prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class _Edition:
    """What nothing in a stream tells apart: edition 1 as NNCodec 1.x and as NNCodec 2 write it."""

    remainder_sets: int
    restart_always: bool


_EDITION_2 = _Edition(REMAINDER_CONTEXTS, False)
_EDITION_1 = (_Edition(REMAINDER_CONTEXTS_V1, True), _EDITION_2)


@dataclass(frozen=True, slots=True)
class _Job:
    """One NDU with all that its decoding depends on."""

    index: int
    unit: Unit
    header: CompressedDataUnit
    matrices: tuple[_Matrix, ...]
    profile: int
    density: int
    qp_base: int
    edition: _Edition
    references: Mapping[str, Reference]
    keep: bool
    parent_signalling: bool


def _matrices(h: CompressedDataUnit) -> tuple[_Matrix, ...]:
    """The tensors of a unit in the order of its codeword."""
    dims = h.tensor_dimensions
    types = h.compressed_parameter_types
    kind = h.nnr_compressed_data_unit_payload_type
    names = list(h.topology_elem_ids)
    if types & ParameterTypes.NNR_CPT_DC and (not h.g_number_of_rows or prod(dims) % h.g_number_of_rows):
        raise NncError(f"{h.g_number_of_rows} rows for a weight of {prod(dims)} elements", field="g_number_of_rows")
    g_shape, h_shape = decomposed_shapes(h)
    if kind != PayloadType.NNR_PT_BLOCK:
        shape: tuple[int, ...] = dims
        if types & ParameterTypes.NNR_CPT_DC:
            # Nothing but the name tells which factor this is.
            if not names[0].endswith(("_G", "_H")):
                raise UnsupportedError("one factor of a decomposed weight, neither _G nor _H", field="topology_elem_id")
            shape = g_shape if names[0].endswith("_G") else h_shape
        return (_Matrix(names[0], shape, h.codebook),)

    def take(shape: tuple[int, ...], codebook: Codebook | None = None) -> _Matrix:
        if not names:
            raise NncError("fewer names than tensors in a block", field="topology_elem_id_list")
        return _Matrix(names.pop(0), shape, codebook)

    weights = [take(dims, h.codebook)]
    if types & ParameterTypes.NNR_CPT_DC:
        weights = [_Matrix(weights[0].name, g_shape, h.codebook), take(h_shape, h.codebook_dc)]
    if not dims:
        raise NncError("a block whose weight has no dimensions", field="tensor_dimensions")
    rows = (dims[0],)
    scaling = [take(rows)] if types & ParameterTypes.NNR_CPT_LS else []
    norm = [take(rows) for _ in range(4)] if types & ParameterTypes.NNR_CPT_BN else []
    bias = [take(rows)] if types & ParameterTypes.NNR_CPT_BI else []
    if names:
        raise NncError(f"{len(names)} names more than tensors in a block", field="topology_elem_id_list")
    return (*scaling, *bias, *norm, *weights)


def _other_format(h: CompressedDataUnit) -> str | None:
    """What to note where the unit asks for elements of another type than is given."""
    integer = h.nnr_compressed_data_unit_payload_type == PayloadType.NNR_PT_INT
    given = "INT32" if integer else "FLOAT32"
    asked = h.nnr_decompressed_data_format
    if not h.nnr_decompressed_data_format_present_flag or asked == DATA_FORMATS.index(given):
        return None
    wanted = DATA_FORMATS[asked] if asked < len(DATA_FORMATS) else f"format {asked}"
    return f"nnr_decompressed_data_format: {wanted} is asked for, {given.lower()} given"


def _check_sizes(unit: Unit, h: CompressedDataUnit, matrices: Sequence[_Matrix], limits: Limits) -> int:
    """The elements of the unit, where they are within the limits."""
    if len(h.tensor_dimensions) > limits.dimensions:
        raise NncError(f"{len(h.tensor_dimensions)} dimensions", field="count_tensor_dimensions")
    if not h.tensor_dimensions:
        raise UnsupportedError("a tensor without dimensions", field="count_tensor_dimensions")
    elements = 0
    for m in matrices:
        if not all(m.shape):
            raise UnsupportedError(f"an empty tensor, shape {m.shape}", field="tensor_dimensions")
        elements += prod(m.shape)
    if elements > min(limits.elements, limits.elements_free + limits.elements_per_byte * unit.size):
        raise NncError(f"{elements} elements in a unit of {unit.size} bytes", field="tensor_dimensions")
    return elements


def _check_reference(job: _Job, reference: Reference | None, name: str, size: int) -> None:
    """An update with temporal contexts must follow directly on what it refers to."""
    h = job.header
    if reference is None:
        raise NncError(
            f"{name!r} refers to an earlier unit that was not decoded", field="temporal_context_modeling_flag"
        )
    if reference.levels.size != size:
        raise NncError(
            f"{name!r} has {size} elements, its reference {reference.levels.size}", field="tensor_dimensions"
        )
    if not h.node_id_present_flag and h.parent_node_id_type != ParentNodeIdType.ICNN_NDU_ID:
        return
    found = (h.device_id, h.parameter_id, h.put_node_depth)
    wanted = (reference.device_id, reference.parameter_id, reference.put_node_depth + 1)
    if found != wanted:
        raise NncError(
            f"device, parameter and depth {found} do not follow on the reference, which asks for {wanted}",
            field="put_node_depth",
        )


def _check_parent_hash(h: CompressedDataUnit, reference: Reference | None) -> str | None:
    """Compare the parent's hash where there is one. Returns what to note when it cannot be checked.

    The standard's text is not known here; by the element's name the hash is of the payload.
    """
    if not h.parent_node_id_present_flag or h.parent_node_id_type == ParentNodeIdType.ICNN_NDU_ID:
        return None
    if reference is None:
        return "the hash of its parent is not checked: no base was decoded"
    sha256 = h.parent_node_id_type == ParentNodeIdType.ICNN_NDU_PL_SHA256
    digest = hashlib.sha256 if sha256 else hashlib.sha512
    if digest(reference.payload).digest() != h.parent_node_payload_hash:
        raise NncError(
            "the unit is an update of another tensor than the one decoded before: its parent's hash differs",
            field="parent_node_payload_sha256" if sha256 else "parent_node_payload_sha512",
        )
    return None


def _floats(levels: NDArray[np.int32], step: float) -> NDArray[np.float32]:
    """level * step in single precision, in the memory of the levels."""
    out = levels.view(np.float32)
    scale = np.float32(step)
    for start in range(0, levels.size, CHUNK):
        out[start : start + CHUNK] = levels[start : start + CHUNK].astype(np.float32) * scale
    return out


def _codebook_floats(levels: NDArray[np.int32], codebook: Codebook, step: float) -> NDArray[np.float32]:
    """values[index] * step in the memory of the indices. The product is rounded once, from double precision."""
    if levels.size and not (
        -codebook.zero <= int(levels.min()) and int(levels.max()) < len(codebook.values) - codebook.zero
    ):
        raise NncError(f"an index outside a codebook of {len(codebook.values)}", field="codebook")
    values = (np.array(codebook.values, dtype=np.float64) * step).astype(np.float32)
    out = levels.view(np.float32)
    for start in range(0, levels.size, CHUNK):
        out[start : start + CHUNK] = values[levels[start : start + CHUNK] + codebook.zero]
    return out


def _raw_floats(job: _Job) -> tuple[dict[str, Tensor], list[CodedTensor], dict[str, Reference], list[str]]:
    matrix = job.matrices[0]
    size = prod(matrix.shape)
    if len(job.unit.payload) != 4 * size:
        raise NncError(f"{len(job.unit.payload)} bytes for {size} floats", field="raw_float32_parameter")
    values = np.frombuffer(job.unit.payload, dtype="<f4").astype(np.float32).reshape(matrix.shape)
    return {matrix.name: values}, [_describe(job, matrix)], {}, []


def _describe(job: _Job, matrix: _Matrix, **more: object) -> CodedTensor:
    h = job.header
    return CodedTensor(
        name=matrix.name,
        shape=matrix.shape,
        payload_type=PayloadType(h.nnr_compressed_data_unit_payload_type),
        unit=job.index,
        unit_bytes=job.unit.size,
        shared=len(job.matrices),
        codebook_size=len(matrix.codebook.values) if matrix.codebook else 0,
        update=bool(h.parent_node_id_present_flag),
        device_id=h.device_id,
        parameter_id=h.parameter_id,
        put_node_depth=h.put_node_depth,
        **more,  # type: ignore[arg-type]
    )


def _decode_unit(job: _Job) -> tuple[dict[str, Tensor], list[CodedTensor], dict[str, Reference], list[str]]:
    """Tensors of one NDU, how they were coded, what later updates refer to, and notes."""
    if job.header.nnr_compressed_data_unit_payload_type == PayloadType.NNR_PT_RAW_FLOAT:
        return _raw_floats(job)
    from nnpf.nnc import level_decoding as coder
    from nnpf.nnc.contexts import signalled_contexts

    h = job.header
    payload = job.unit.payload
    codeword = np.zeros(len(payload) + coder.PADDING, dtype=np.uint8)
    codeword[: len(payload)] = np.frombuffer(payload, dtype=np.uint8)
    registers = coder.start(codeword)
    integer = h.nnr_compressed_data_unit_payload_type == PayloadType.NNR_PT_INT
    dependent = bool(h.dq_flag) and not integer
    tensors: dict[str, Tensor] = {}
    coded: list[CodedTensor] = []
    references: dict[str, Reference] = {}
    notes: list[str] = []
    rows_seen: list[tuple[int, ...]] = []
    for m in job.matrices:
        size = prod(m.shape)
        reference = job.references.get(m.name)
        unchecked = _check_parent_hash(h, reference)
        if unchecked:
            notes.append(unchecked)
        temporal = bool(h.temporal_context_modeling_flag)
        if temporal:
            _check_reference(job, reference, m.name, size)
        history = reference.history if reference is not None else None
        if history is not None and history.size != size:
            raise NncError(f"{m.name!r} has {size} elements, its reference {history.size}", field="tensor_dimensions")
        qp, step = None, None
        if not integer:
            bits = 6 + job.density
            value = int(coder.decode_bypass(codeword, registers, bits))
            qp = value - ((value >> (bits - 1)) << bits) + job.qp_base
            step = step_size(qp, job.density)
        levels = np.zeros(size, dtype=np.int32)
        edge = 4 << h.scan_order if h.scan_order and m.height > 1 and m.width > 1 else 0
        points = np.zeros((-(-m.height // edge) if edge else 0, 3), dtype=np.int64)
        report = np.zeros(3, dtype=np.int64)
        result = coder.decode_levels(
            codeword,
            registers,
            levels,
            m.height,
            m.width,
            edge,
            h.cabac_unary_length_minus1 + 1,
            dependent,
            job.profile == 1,
            bool(h.parent_node_id_present_flag),
            temporal,
            reference.levels if temporal and reference is not None else np.zeros(1, dtype=np.int16),
            history is not None,
            history if history is not None else np.zeros(1, dtype=np.uint8),
            len(m.codebook.values) if m.codebook else 0,
            m.codebook.zero if m.codebook else 0,
            signalled_contexts(
                h.cabac_unary_length_minus1 + 1,
                dependent,
                temporal,
                m.codebook if job.profile == 1 else None,
                job.edition.remainder_sets,
            ),
            job.edition.restart_always,
            points,
            *coder.work_space(h.cabac_unary_length_minus1 + 1, m.height),
            report,
        )
        if result == coder.OVERRUN:
            raise NncError(f"the codeword ends before {m.name!r} does", field="payload")
        if result == coder.LEVEL_TOO_LARGE:
            raise NncError(f"a level of {m.name!r} beyond 32 bits", field="payload")
        if result == coder.NO_HISTORY:
            raise NncError(
                f"{m.name!r} refers to earlier updates that were not decoded", field="hist_dep_sig_prob_enabled_flag"
            )
        bits_between = np.diff(points[:, 2])
        rows_seen += [(int(p[0]), int(p[1]), int(b)) for p, b in zip(points[1:], bits_between, strict=True)]
        largest = int(report[coder.LARGEST])
        if job.keep:
            kept = np.empty(size, dtype=np.int16)
            np.clip(levels, -REFERENCE_LIMIT, REFERENCE_LIMIT, out=kept, casting="unsafe")
            past = history
            if job.parent_signalling:
                changed = (kept != 0).view(np.uint8)
                past = changed if history is None else changed | history
            references[m.name] = Reference(kept, past, h.device_id, h.parameter_id, h.put_node_depth, payload)
        if integer:
            tensors[m.name] = levels.reshape(m.shape)
        else:
            assert step is not None
            values = m.codebook.values if m.codebook else (largest,)
            largest_value = max(abs(values[0]), abs(values[-1]))
            if largest_value * step > LARGEST_FLOAT:
                raise NncError(f"{m.name!r} has values beyond single precision", field="payload")
            floats = _codebook_floats(levels, m.codebook, step) if m.codebook else _floats(levels, step)
            tensors[m.name] = floats.reshape(m.shape)
        coded.append(
            _describe(
                job,
                m,
                dependent=dependent,
                qp=qp,
                step=step,
                unary_length=h.cabac_unary_length_minus1 + 1,
                scan_order=h.scan_order,
                row_skip=bool(report[coder.ROW_SKIP_ENABLED]),
                temporal=temporal,
                history=bool(report[coder.HISTORY_ENABLED]),
                largest=largest,
            )
        )
    _check_end(payload, *coder.decode_terminate(codeword, registers))
    if job.profile == 1:
        _check_entry_points(h.cabac_entry_points, rows_seen)
    return tensors, coded, references, notes


def _check_entry_points(listed: Sequence[EntryPoint], seen: Sequence[tuple[int, ...]]) -> None:
    """The header's entry points against window, state and bits of every row of blocks, as decoding met them."""
    offset = 0
    for point, (value, state, bits) in zip(listed, seen, strict=False):
        offset += point.offset
        if (point.value, point.state, offset) != (value, state, bits):
            raise NncError("an entry point that is not where its row of blocks starts", field="cabac_entry_point_list")


def _check_end(payload: bytes, terminated: int, bits: int) -> None:
    """Terminate bin, stop bit, zero bits and length: what a codeword has against damage."""
    if not terminated:
        raise NncError("the codeword does not end where its tensors do", field="terminate bin")
    if len(payload) != (bits + 7) >> 3:
        raise NncError(f"a codeword of {bits} bits in {len(payload)} bytes", field="payload")
    if payload[-1] & ((2 << (-bits & 7)) - 1) != 1 << (-bits & 7):
        raise NncError("no stop bit after the codeword", field="payload")


def _decode_within(job: _Job) -> tuple[dict[str, Tensor], list[CodedTensor], dict[str, Reference], list[str]]:
    try:
        return _decode_unit(job)
    except NncError as error:
        raise error.within(offset=job.unit.offset, unit=job.unit.describe(job.index)) from None


class Decoder:
    """Decodes payloads one after the other and keeps what updates refer to.

    A payload without parent signalling is a base: it replaces all that was kept. Every other one is an update; it may
    refer to the base and to the updates before it. Where updates must not depend on each other, decode each of them
    with a `copy()` taken after the base.

    Args:
        limits: bounds on what a payload may ask for.
        threads: how many tensors are decoded at a time. Default: the processors that this process may use.
    """

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS, threads: int | None = None) -> None:
        self.limits = limits
        self.threads = threads
        self.last: Decoded | None = None
        self._references: dict[str, Reference] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the tensors decoded so far, which updates may leave out."""
        return self._shapes

    @property
    def references(self) -> Mapping[str, Reference]:
        """What a later update may refer to."""
        return self._references

    def copy(self) -> Decoder:
        """A decoder in the same state. Nothing is copied but two dictionaries."""
        other = Decoder(limits=self.limits, threads=self.threads)
        other.adopt(self)
        return other

    def adopt(self, other: Decoder) -> None:
        """Take over the state of another decoder."""
        self.last = other.last
        self._references = dict(other._references)
        self._shapes = dict(other._shapes)

    def decode(self, data: bytes) -> dict[str, Tensor]:
        """The tensors of a payload, by name, in the order of the stream: float32, or int32 where coded as integers.

        Of an update these are what the stream holds (differences, mostly); `nnpf.nnc.updates` applies them.
        `last` then has notes on units that were not decoded, and how each tensor was coded.

        Raises: NncError, with the byte offset, the unit and the element at fault. The decoder then stays as it was.
        """
        decoded, references = decode_payload(
            data, self._references, self._shapes, limits=self.limits, threads=self.threads, keep=True
        )
        if decoded.mps is not None and not decoded.mps.mps_parent_signalling_enabled_flag:
            self._references = {}
            self._shapes = {}
        self._references.update(references)
        for unit in decoded.units:
            if isinstance(unit.header, CompressedDataUnit) and unit.problem is None:
                self._shapes[weight_name(unit.header)] = unit.header.tensor_dimensions
        self._shapes.update({c.name: c.shape for c in decoded.coded})
        self.last = decoded
        return decoded.tensors


def decode(data: bytes, *, limits: Limits = DEFAULT_LIMITS, threads: int | None = None) -> dict[str, Tensor]:
    """The tensors of one payload, by name, in the order of the stream.

    float32, or int32 where coded as integers. For updates that refer to earlier payloads, see `Decoder`.

    Raises: NncError, with the byte offset, the unit and the element at fault.
    """
    return decode_payload(data, {}, {}, limits=limits, threads=threads, keep=False)[0].tensors


def decode_payload(
    data: bytes,
    references: Mapping[str, Reference],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    limits: Limits,
    threads: int | None,
    keep: bool,
) -> tuple[Decoded, dict[str, Reference]]:
    """Everything about one payload, and what later updates refer to (empty unless `keep`)."""
    data = bytes(data)
    if not data:
        raise NncError("an empty payload", offset=0)
    decoded, pending = _read(data, references, shapes, limits, keep)
    editions = _EDITION_1 if decoded.profile == 0 else (_EDITION_2,)
    kept: dict[str, Reference] = {}
    failure: NncError | None = None
    for edition in editions:
        jobs = [replace(job, edition=edition) for job in pending]
        try:
            results = _run(jobs, available_cores() if threads is None else threads)
        except NncError as error:
            failure = failure or error
            continue
        for job, (tensors, coded, kept_here, notes) in zip(jobs, results, strict=True):
            decoded.tensors.update(tensors)
            decoded.coded += coded
            kept.update(kept_here)
            decoded.notes += [Note(job.unit.offset, job.unit.describe(job.index), n) for n in notes]
        return decoded, kept
    assert failure is not None
    raise failure


def _run(
    jobs: list[_Job], threads: int
) -> list[tuple[dict[str, Tensor], list[CodedTensor], dict[str, Reference], list[str]]]:
    if threads < 2 or len(jobs) < 2 or sum(len(job.unit.payload) for job in jobs) < PARALLEL_BYTES:
        return [_decode_within(job) for job in jobs]
    from concurrent.futures import ThreadPoolExecutor

    # The largest first, so that no thread is left with one at the end.
    order = sorted(range(len(jobs)), key=lambda j: -len(jobs[j].unit.payload))
    with ThreadPoolExecutor(threads) as pool:
        futures = {j: pool.submit(_decode_within, jobs[j]) for j in order}
        try:
            return [futures[j].result() for j in range(len(jobs))]
        finally:
            for future in futures.values():
                future.cancel()


def _read(
    data: bytes,
    references: Mapping[str, Reference],
    shapes: Mapping[str, tuple[int, ...]],
    limits: Limits,
    keep: bool,
) -> tuple[Decoded, list[_Job]]:
    """Units and their headers, and what there is to decode."""
    decoded = Decoded()
    pending: list[_Job] = []
    partial = False
    names: set[str] = set()
    elements = 0
    density, qp_base = 2, 0
    for index, unit in enumerate(read_units(data, StreamParameters(shapes=shapes), limits=limits)):
        decoded.units.append(unit)
        where = unit.describe(index)

        def note(message: str, unit: Unit = unit, where: str = where) -> None:
            decoded.notes.append(Note(unit.offset, where, message))

        if index == 0 and unit.unit_type != UnitType.NNR_STR:
            raise NncError("the first unit must be NNR_STR", offset=unit.offset, unit=where, field="nnr_unit_type")
        if unit.problem is not None:
            if not isinstance(unit.problem, UnsupportedError):
                raise unit.problem
            field_name = f"{unit.problem.field}: " if unit.problem.field else ""
            note(f"not decoded: {field_name}{unit.problem.problem}")
        header = unit.header
        if isinstance(header, Start):
            if index:
                raise NncError("a second model starts", offset=unit.offset, unit=where, field="nnr_unit_type")
            if header.general_profile_idc > 1:
                raise NncError(
                    f"profile {header.general_profile_idc}", offset=unit.offset, unit=where, field="general_profile_idc"
                )
            decoded.profile = header.general_profile_idc
        elif isinstance(header, ModelParameterSet):
            if decoded.mps is not None:
                raise NncError("a second model parameter set", offset=unit.offset, unit=where, field="nnr_unit_type")
            decoded.mps = header
            density, qp_base = header.mps_qp_density, header.mps_quantization_parameter
            if header.nnr_pre_flag:
                note("predictive residual encoding: tensors are given as coded")
        elif isinstance(header, LayerParameterSet):
            if header.lps_quantization_method_flags & QUANTIZATION_METHODS:
                density, qp_base = header.lps_qp_density, header.lps_quantization_parameter
        elif isinstance(header, Topology):
            decoded.topology = header
        elif isinstance(header, CompressedDataUnit) and unit.problem is None:
            if decoded.mps is None:
                raise NncError("tensors before the model parameter set", offset=unit.offset, unit=where)
            if unit.partial_data_counter or partial:
                note(f"not decoded: a part of a unit, {unit.partial_data_counter or 0} more to come")
                partial = bool(unit.partial_data_counter)
                continue
            try:
                matrices = _matrices(header)
                elements += _check_sizes(unit, header, matrices, limits)
                if elements > limits.elements:
                    raise NncError(f"more than {limits.elements} elements in all", field="tensor_dimensions")
                if header.first_tensor_dimension_shift:
                    raise UnsupportedError("shifted dimensions", field="first_tensor_dimension_shift")
                other_format = _other_format(header)
                if other_format:
                    note(other_format)
                for m in matrices:
                    if m.name in names:
                        raise NncError(f"a second tensor {m.name!r}", field="topology_elem_id")
                    names.add(m.name)
            except UnsupportedError as error:
                note(f"not decoded: {error.field}: {error.problem}")
                continue
            except NncError as error:
                raise error.within(offset=unit.offset, unit=where) from None
            pending.append(
                _Job(
                    index=index,
                    unit=unit,
                    header=header,
                    matrices=matrices,
                    profile=decoded.profile,
                    density=density,
                    qp_base=qp_base,
                    edition=_EDITION_2,
                    references=references,
                    keep=keep,
                    parent_signalling=bool(decoded.mps.mps_parent_signalling_enabled_flag),
                )
            )
        elif header is not None and unit.unit_type == UnitType.NNR_QNT:
            note("not used: quantisation data of a format that is not known here")
    if decoded.mps is None:
        raise NncError("no model parameter set", offset=len(data))
    return decoded, pending
