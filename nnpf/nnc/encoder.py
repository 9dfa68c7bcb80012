"""Tensors to payloads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpf.cores import available_cores
from nnpf.nnc.decoder import Decoder, Reference, Tensor
from nnpf.nnc.errors import NncError
from nnpf.nnc.matrix import Matrix, Tools
from nnpf.nnc.preparation import (
    Array,
    Importance,
    Weighing,
    as_coded,
    fold_batch_norm,
    is_weight,
    quantization_parameters,
)
from nnpf.nnc.quantization import coded_range, quantized_levels, slope_of, step_size
from nnpf.nnc.settings import DEFAULT_UNARY_LENGTH, Block, Settings
from nnpf.nnc.syntax import (
    Codebook,
    CompressedDataUnit,
    ModelParameterSet,
    PayloadType,
    StreamParameters,
    Topology,
    UnitType,
)
from nnpf.nnc.tables import REFERENCE_LIMIT
from nnpf.nnc.units import Header, Start, Unit, write_unit


@dataclass(frozen=True, slots=True)
class _Coded:
    """A tensor, quantised."""

    name: str
    shape: tuple[int, ...]
    levels: NDArray[np.int32]
    qp: int | None  # None: integers
    dependent: bool
    codebook: Codebook | None = None
    raw: NDArray[np.float32] | None = None

    @property
    def height(self) -> int:
        return self.shape[0]

    @property
    def width(self) -> int:
        return math.prod(self.shape[1:])


class Encoder:
    """Codes a model, then updates of it, and keeps what updates refer to (as `nnpf.nnc.Decoder` does).

    Example:
        >>> encoder = Encoder(Settings(qp=-32))
        >>> base = encoder.encode(weights)
        >>> update = encoder.encode_update(differences)
    """

    def __init__(self, settings: Settings | None = None, *, blocks: Sequence[Block] = ()) -> None:
        self.settings = settings or Settings()
        self.blocks = tuple(blocks)
        self._references: dict[str, Reference] = {}
        self._ids: dict[str, int] = {}

    def copy(self) -> Encoder:
        """An encoder in the same state."""
        other = Encoder(self.settings, blocks=self.blocks)
        other._references = dict(self._references)
        other._ids = dict(self._ids)
        return other

    def follow(self, decoder: Decoder) -> None:
        """Code updates of what a decoder has decoded."""
        self._references = dict(decoder.references)
        self._ids = {name: reference.parameter_id for name, reference in decoder.references.items()}

    def encode(
        self,
        tensors: Mapping[str, Array],
        *,
        topology: Topology | None = None,
        base_model_id: str | None = None,
        importance: Importance | None = None,
    ) -> bytes:
        """The payload of a whole model; updates that follow refer to it. The arguments are those of `encode`."""
        self._references.clear()
        self._ids.clear()
        return self._encode(tensors, topology, base_model_id, importance, update=False, depth=1)

    def encode_update(
        self,
        tensors: Mapping[str, Array],
        *,
        topology: Topology | None = None,
        base_model_id: str | None = None,
        importance: Importance | None = None,
    ) -> bytes:
        """The payload of differences to the model. Tensors without a difference are not sent."""
        return self._encode(tensors, topology, base_model_id, importance, update=True, depth=1)

    def _encode(
        self,
        tensors: Mapping[str, Array],
        topology: Topology | None,
        base_model_id: str | None,
        importance: Importance | None,
        *,
        update: bool,
        depth: int,
        keep: bool = True,
    ) -> bytes:
        settings = self.settings
        settings.check()
        if not tensors:
            raise NncError("no tensors")
        # Differences of lossless coding would have to be exact, which sums of floats are not.
        if settings.lossless and update:
            raise NncError("an update cannot be coded without loss: send the tensors themselves")
        inputs = {name: as_coded(name, value) for name, value in tensors.items()}
        # The two factors of a weight count as one parameter.
        second = {block.h for block in self.blocks if block.h}
        numbers = {name: index for index, name in enumerate(n for n in inputs if n not in second)}
        ids = {name: self._ids.get(name, numbers.get(name, 0)) for name in inputs}
        blocks = {b.weights[0]: b for b in self.blocks}
        if settings.fold_batch_norm:
            for key, block in list(blocks.items()):
                blocks[key] = fold_batch_norm(inputs, block, ids)
        weighing = Weighing(inputs, importance or {})
        parameters = quantization_parameters(inputs, blocks.values(), settings, weighing)
        groups = _groups(inputs, blocks)
        node_ids = keep or not settings.compact
        work = [_Work(names, block, inputs, ids, parameters, weighing, settings, node_ids) for names, block in groups]
        with_topology = topology is not None or not settings.compact
        mps = ModelParameterSet(
            topology_carriage_flag=int(with_topology),
            mps_qp_density=settings.qp_density,
            mps_parent_signalling_enabled_flag=int(update),
        )
        if base_model_id is not None:
            mps.base_model_id_present_flag, mps.base_model_id = 1, base_model_id
        p = StreamParameters(general_profile_idc=1, parent_signalling=update)
        parts = [_unit(UnitType.NNR_STR, Start(1), p), _unit(UnitType.NNR_MPS, mps, p)]
        if with_topology:
            parts.append(_unit(UnitType.NNR_TPL, topology or Topology(), p))
        results = _map(lambda w: _code(w, self._references, update, depth, p), work, settings.threads)
        for units, references in results:
            parts += units
            if keep:
                self._references.update(references)
        self._ids.update(ids)
        return b"".join(parts)


def encode(
    tensors: Mapping[str, Array],
    settings: Settings | None = None,
    *,
    blocks: Sequence[Block] = (),
    topology: Topology | None = None,
    importance: Importance | None = None,
) -> bytes:
    """The payload of a model; for one that updates will refer to, see `Encoder`.

    Args:
        tensors: float (coded as float32) or integer (as int32) arrays by name; a scalar becomes one element.
        blocks: tensors that share a unit.
        topology: for example from `nnpf.nnc.model`.
        importance: how much a squared error matters, by tensor: one number, or an array of the tensor's shape. Default
            1. A tensor that matters four times as much gets half the step.

    Raises: NncError where a tensor cannot be coded; it names the tensor.
    """
    encoder = Encoder(settings, blocks=blocks)
    return encoder._encode(tensors, topology, None, importance, update=False, depth=0, keep=False)


def _unit(kind: UnitType, header: Header, p: StreamParameters, payload: bytes = b"") -> bytes:
    return write_unit(Unit(kind, header=header, payload=payload), p)


def _groups(inputs: Mapping[str, Tensor], blocks: Mapping[str, Block]) -> list[tuple[tuple[str, ...], Block | None]]:
    """What goes into units, in the order of the tensors; a block stands where its weight does."""
    inside = {name for block in blocks.values() for name in block.named}
    for name in inside:
        if name not in inputs:
            raise NncError(f"{name!r} of a block is not among the tensors")
    out: list[tuple[tuple[str, ...], Block | None]] = []
    for name in inputs:
        if name in blocks:
            out.append((blocks[name].coded, blocks[name]))
        elif name not in inside:
            out.append(((name,), None))
    return out


# --- one unit ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """Tensors of one unit, or of the units that a block falls apart into."""

    names: tuple[str, ...]  # in the order of the codeword
    block: Block | None
    inputs: Mapping[str, Tensor]
    ids: Mapping[str, int]
    parameters: Mapping[str, int]
    weighing: Weighing
    settings: Settings
    node_ids: bool
    scan_order: int = 0


def _map(function: Any, work: Sequence[_Work], threads: int | None) -> list[tuple[list[bytes], dict[str, Reference]]]:
    count = available_cores() if threads is None else threads
    if count < 2 or len(work) < 2:
        return [function(w) for w in work]
    from concurrent.futures import ThreadPoolExecutor

    sizes = [sum(w.inputs[name].size for name in w.names) for w in work]
    order = sorted(range(len(work)), key=lambda j: -sizes[j])
    with ThreadPoolExecutor(count) as pool:
        futures = {j: pool.submit(function, work[j]) for j in order}
        return [futures[j].result() for j in range(len(work))]


def _code(
    work: _Work, references: Mapping[str, Reference], update: bool, depth: int, p: StreamParameters
) -> tuple[list[bytes], dict[str, Reference]]:
    """The units of one piece of work, and what later updates refer to."""
    settings = work.settings
    work = replace(work, scan_order=_scan_order(work))
    if not settings.step_search or settings.rate_distortion <= 0 or not any(n in work.parameters for n in work.names):
        units, kept, _ = _code_at(work, references, update, depth, p)
        return units, kept
    # What a byte is worth, in squared error: the same whatever the step.
    main = next(n for n in reversed(work.names) if n in work.parameters)
    step = step_size(work.parameters[main], settings.qp_density)
    slope = 8 * slope_of(settings.rate_distortion, settings.dependent) * step**2
    low, high = coded_range(settings.qp_density)
    best: tuple[float, list[bytes], dict[str, Reference]] | None = None
    for offset in (0, -1, 1):
        moved = {n: min(max(work.parameters[n] + offset, low), high) for n in work.names if n in work.parameters}
        weight = settings.rate_distortion * (step / step_size(moved[main], settings.qp_density)) ** 2
        attempt = replace(work, parameters=moved, settings=replace(settings, rate_distortion=weight))
        units, kept, error = _code_at(attempt, references, update, depth, p)
        cost = error + slope * sum(map(len, units))
        if best is None or cost < best[0]:
            best = cost, units, kept
    assert best is not None
    return best[1], best[2]


def _scan_order(work: _Work) -> int:
    """The scan order of a unit: as set, or the one that suits its largest tensor."""
    settings = work.settings
    if settings.scan_order is not None:
        return settings.scan_order
    name = max(work.names, key=lambda n: work.inputs[n].size)
    value = work.inputs[name]
    if value.dtype != np.float32 or settings.lossless or name in settings.raw:
        return 0
    from nnpf.nnc.scan_order import best_scan_order

    step = step_size(work.parameters[name], settings.qp_density)
    height = value.shape[0]
    return best_scan_order(value.reshape(-1), height, value.size // height, step, settings.dependent)


def _code_at(
    work: _Work, references: Mapping[str, Reference], update: bool, depth: int, p: StreamParameters
) -> tuple[list[bytes], dict[str, Reference], float]:
    """The same with the given quantisation parameters; and the squared error."""
    coded = [_quantized(name, work) for name in work.names]
    groups: list[tuple[list[_Coded], Block | None]]
    types = work.block.types if work.block else 0
    if work.block is not None and _block_possible(work.block, coded):
        groups = [(coded, work.block)] if not update or any(c.levels.any() for c in coded) else []
        skipped = [] if groups else coded
    else:
        skipped = [c for c in coded if update and not c.levels.any()]
        groups = [([c], None) for c in coded if not (update and not c.levels.any())]
    units: list[bytes] = []
    kept: dict[str, Reference] = {}
    error = sum(_squared_error(c, work) for c in skipped)
    for tensors, block in groups:
        unit, references_here, final = _data_unit(tensors, block, types, work, references, update, depth, p)
        units.append(unit)
        kept.update(references_here)
        error += sum(_squared_error(c, work) for c in final)
    return units, kept, error


def _squared_error(c: _Coded, work: _Work) -> float:
    """Of the tensor as it will be decoded, weighed by its elements' importance. Only where steps are searched for."""
    if not work.settings.step_search or c.qp is None:
        return 0.0
    step = step_size(c.qp, work.settings.qp_density)
    integers = np.array(c.codebook.values)[c.levels + c.codebook.zero] if c.codebook else c.levels
    error = work.inputs[c.name].reshape(-1).astype(np.float64) - integers * step
    return float((work.weighing.of_elements(c.name) * error * error).sum())


def _block_possible(block: Block, coded: Sequence[_Coded]) -> bool:
    """A block needs floats, one kind of quantiser for all, and codebooks only for weights (both factors or none)."""
    if len({c.dependent for c in coded}) > 1 or any(c.qp is None or c.raw is not None for c in coded):
        return False
    with_codebook = {c.name for c in coded if c.codebook}
    return with_codebook in (set(), set(block.weights)) and len(coded) > 1


def _quantized(name: str, work: _Work) -> _Coded:
    """A tensor with its nearest levels, or its codebook."""
    settings = work.settings
    value = work.inputs[name]
    if value.dtype == np.int32:
        return _Coded(name, value.shape, value.astype(np.int32, copy=False).reshape(-1), None, False)
    floats = value.astype(np.float32, copy=False)
    if settings.lossless or name in settings.raw:
        return _Coded(name, value.shape, np.zeros(0, dtype=np.int32), None, False, raw=floats)
    height, width = value.shape[0], math.prod(value.shape[1:])
    qp = work.parameters[name]
    if settings.codebook != "off":
        from nnpf.nnc.codebooks import with_codebook

        found = with_codebook(floats.reshape(-1), height, width, qp, settings, work.scan_order)
        if found is not None:
            return _Coded(name, value.shape, found.indices, found.qp, False, found.codebook)
    try:
        levels, qp = quantized_levels(
            floats.reshape(-1), height, width, qp, settings.qp_density, work.scan_order, settings.dependent
        )
    except NncError as error:
        raise NncError(f"{name!r}: {error.problem}", field=error.field) from None
    if settings.bit_depth is not None:
        bits = settings.bit_depth if settings.bit_depth > 7 or is_weight(name, value, filter(None, [work.block])) else 8
        unsigned = bool((floats >= 0).all())
        low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        levels = np.clip(levels, low, high)
    return _Coded(name, value.shape, levels, qp, settings.dependent)


def row_skip_works(height: int, width: int, scan_order: int, dependent: bool) -> bool:
    """Whether skipping a row leaves the dependent quantiser where the trellis had it.

    In blocks the decoder moves the state on by the whole row for each block that the row crosses; along zeros the
    state has a period of four.
    """
    return not (scan_order and dependent and height > 1 and width > 1) or width % 4 == 0


def _data_unit(
    coded: Sequence[_Coded],
    block: Block | None,
    types: int,
    work: _Work,
    references: Mapping[str, Reference],
    update: bool,
    depth: int,
    p: StreamParameters,
) -> tuple[bytes, dict[str, Reference], Sequence[_Coded]]:
    """One unit, what later updates refer to, and the levels as they were coded."""
    settings = work.settings
    first = coded[0]
    header = CompressedDataUnit(
        parent_node_id_present_flag=int(update),
        compressed_parameter_types=types,
        tensor_dimensions=first.shape,
        topology_elem_ids=(first.name,),
        dq_flag=int(first.dependent),
        codebook=first.codebook,
    )
    main = first.name
    if block is not None:
        weights = [c for c in coded if c.name in block.weights]
        main = weights[0].name
        header.nnr_compressed_data_unit_payload_type = PayloadType.NNR_PT_BLOCK
        header.nnr_multiple_topology_elements_present_flag = 1
        header.topology_elem_ids = block.named
        header.tensor_dimensions = weights[0].shape
        header.codebook = weights[0].codebook
        if block.g:
            g, h = weights
            shape = block.shape or (g.shape[0], h.width)
            if g.shape[1:] != (h.height,) or math.prod(shape) != g.shape[0] * h.width or len(g.shape) != 2:
                raise NncError(f"{g.name!r} {g.shape} and {h.name!r} {h.shape} do not make a weight of shape {shape}")
            header.tensor_dimensions = shape
            header.g_number_of_rows, header.decomposition_rank = g.shape
            header.codebook_dc = h.codebook
    elif first.raw is not None:
        header.nnr_compressed_data_unit_payload_type = PayloadType.NNR_PT_RAW_FLOAT
    elif first.qp is None:
        header.nnr_compressed_data_unit_payload_type = PayloadType.NNR_PT_INT
    header.codebook_present_flag = int(header.codebook is not None)
    header.node_id_present_flag = int(work.node_ids)
    header.parameter_id = work.ids[main]
    before = references.get(main)
    header.put_node_depth = before.put_node_depth + 1 if update and before is not None else depth
    temporal = update and settings.temporal and all(c.name in references for c in coded)
    header.temporal_context_modeling_flag = int(temporal)
    if len(header.tensor_dimensions) > 1:
        header.scan_order = work.scan_order if any(c.height > 1 and c.width > 1 for c in coded) else 0
    if first.raw is not None:
        return _unit(UnitType.NNR_NDU, header, p, first.raw.astype("<f4").tobytes()), {}, coded

    matrices = []
    for c in coded:
        reference = references.get(c.name)
        if reference is not None and update and reference.levels.size != c.levels.size:
            raise NncError(f"{c.name!r} has {c.levels.size} elements, the tensor it updates {reference.levels.size}")
        matrices.append(
            Matrix(
                levels=c.levels,
                height=c.height,
                width=c.width,
                code=None if c.qp is None else (c.qp, 6 + settings.qp_density),
                limited=c.codebook,
                reference=reference.levels if temporal and reference is not None else None,
                history=reference.history if update and settings.history and reference is not None else None,
            )
        )
    skippable = all(row_skip_works(m.height, m.width, header.scan_order, first.dependent) for m in matrices)
    tools = Tools(
        flags=settings.unary_length or DEFAULT_UNARY_LENGTH,
        scan_order=header.scan_order,
        dependent=first.dependent,
        search=settings.search,
        row_skip=settings.row_skip if skippable else False,
        update=update,
    )
    if settings.unary_length is None:
        from nnpf.nnc.unary_length import best_unary_length

        # One length serves all tensors of a unit; the largest of them decides.
        tools = replace(tools, flags=best_unary_length(max(matrices, key=lambda m: m.levels.size), tools))
    header.cabac_unary_length_minus1 = tools.flags - 1
    if settings.rate_distortion > 0:
        matrices = [_optimized(m, c, tools, work) for m, c in zip(matrices, coded, strict=True)]
        coded = [replace(c, levels=m.levels) for m, c in zip(matrices, coded, strict=True)]
    # Not before it is needed: this brings numba in, which takes half a second.
    from nnpf.nnc.codeword import encode_matrices, entry_points

    payload = encode_matrices(matrices, tools)
    if header.scan_order:
        header.cabac_entry_points = entry_points(payload, matrices, tools)
    kept = {c.name: _reference(c, references.get(c.name), header, payload, update) for c in coded}
    return _unit(UnitType.NNR_NDU, header, p, payload), kept, coded


def _optimized(m: Matrix, c: _Coded, tools: Tools, work: _Work) -> Matrix:
    """The matrix with levels chosen by distortion and rate, where it has floats and no codebook."""
    if c.qp is None or c.codebook is not None:
        return m
    from nnpf.nnc.rate_distortion import optimized

    settings = work.settings
    weights = work.inputs[c.name].astype(np.float32, copy=False).reshape(-1)
    step = step_size(c.qp, settings.qp_density)
    importance = work.weighing.of_elements(c.name)
    return replace(m, levels=optimized(m, tools, weights, step, settings.rate_distortion, importance, settings.rounds))


def _reference(
    c: _Coded, before: Reference | None, header: CompressedDataUnit, payload: bytes, update: bool
) -> Reference:
    """The same as the decoder keeps."""
    levels = np.empty(c.levels.size, dtype=np.int16)
    np.clip(c.levels, -REFERENCE_LIMIT, REFERENCE_LIMIT, out=levels, casting="unsafe")
    history = before.history if before is not None else None
    if update:
        changed = (levels != 0).view(np.uint8)
        history = changed if history is None else changed | history
    return Reference(levels, history, header.device_id, header.parameter_id, header.put_node_depth, payload)
