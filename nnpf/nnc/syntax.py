"""NNR units (ISO/IEC 15938-17): one description per structure, which serves reading, writing and tracing.

Elements carry the standard's names. What the standard's text says beyond the open implementation is not known here;
where a structure's syntax is unknown, `UnsupportedError` says so and the unit's bytes stay available.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from nnpf.nnc.bits import Syntax
from nnpf.nnc.errors import UnsupportedError


class UnitType(IntEnum):
    """nnr_unit_type"""

    NNR_STR = 0
    NNR_MPS = 1
    NNR_LPS = 2
    NNR_TPL = 3
    NNR_QNT = 4
    NNR_NDU = 5
    NNR_AGG = 6


class PayloadType(IntEnum):
    """nnr_compressed_data_unit_payload_type"""

    NNR_PT_INT = 0
    NNR_PT_FLOAT = 1
    NNR_PT_RAW_FLOAT = 2
    NNR_PT_BLOCK = 3


class ParameterTypes(IntFlag):
    """compressed_parameter_types: what an NDU of a block holds beside the weight"""

    NNR_CPT_DC = 1  # the weight is decomposed into G and H
    NNR_CPT_LS = 2  # local scaling
    NNR_CPT_BN = 4  # batch normalisation: beta, gamma, mean, variance
    NNR_CPT_BI = 8  # bias


class TopologyFormat(IntEnum):
    """topology_storage_format"""

    NNR_TPL_UNREC = 0
    NNR_TPL_NNEF = 1
    NNR_TPL_ONNX = 2
    NNR_TPL_PYT = 3
    NNR_TPL_TEF = 4
    NNR_TPL_PRUN = 5
    NNR_TPL_REFLIST = 6


class CompressionFormat(IntEnum):
    """topology_compression_format, quantization_compression_format"""

    NNR_PT_RAW = 0
    NNR_DFL = 1


class ParentNodeIdType(IntEnum):
    """parent_node_id_type"""

    ICNN_NDU_ID = 0
    ICNN_NDU_PL_SHA256 = 1
    ICNN_NDU_PL_SHA512 = 2


# nnr_decompressed_data_format
DATA_FORMATS = ("INT32", "FLOAT32", "INT2", "INT3", "INT4", "INT8", "INT16", "INT64", "FLOAT16", "FLOAT64")

# mps_quantization_method_flags and lps_quantization_method_flags: either of these brings density and parameter.
QUANTIZATION_METHODS = 3


@dataclass(slots=True)
class PerformanceEntry:
    """One row of a performance map: what was done to the model, and how well it then worked."""

    figures: tuple[float, ...] = ()
    reshaped_dims: tuple[int, ...] = ()
    super_block_dims: tuple[int, ...] = ()
    block_dims: tuple[int, ...] = ()
    count_classes: int = 0
    class_bitmask: int = 0
    class_accuracies: tuple[float, ...] = ()


@dataclass(slots=True)
class ModelParameterSet:
    topology_carriage_flag: int = 1
    mps_sparsification_flag: int = 0
    mps_pruning_flag: int = 0
    mps_unification_flag: int = 0
    mps_decomposition_performance_map_flag: int = 0
    mps_quantization_method_flags: int = 1
    mps_topology_indexed_reference_flag: int = 0
    base_model_id_present_flag: int = 0
    validation_set_performance_present_flag: int = 0
    metric_type_performance_map_valid_flag: int = 0
    mps_parent_signalling_enabled_flag: int = 0
    nnr_pre_flag: int = 0
    nnr_reserved_zero_bits: int = 0
    base_model_id: str = ""
    performance_metric_type: str = ""
    mps_qp_density: int = 2
    mps_quantization_parameter: int = 0
    sparsification: tuple[PerformanceEntry, ...] = ()
    pruning: tuple[PerformanceEntry, ...] = ()
    unification: tuple[PerformanceEntry, ...] = ()
    decomposition: tuple[PerformanceEntry, ...] = ()
    validation_set_performance: float = 0.0


@dataclass(slots=True)
class LayerParameterSet:
    lps_self_contained_flag: int = 0
    nnr_reserved_zero_7bits: int = 0
    nnr_reserved_zero_1bit: int = 0
    lps_sparsification_flag: int = 0
    lps_pruning_flag: int = 0
    lps_unification_flag: int = 0
    lps_quantization_method_flags: int = 0
    nnr_reserved_zero_1bit_2: int = 0
    lps_qp_density: int = 2
    lps_quantization_parameter: int = 0
    sparsification: tuple[PerformanceEntry, ...] = ()
    pruning: tuple[PerformanceEntry, ...] = ()
    unification: tuple[PerformanceEntry, ...] = ()


@dataclass(slots=True)
class Topology:
    """NNR_TPL. `topology_data` is as carried (compressed or not); an element id list only for NNR_TPL_REFLIST."""

    topology_storage_format: int = TopologyFormat.NNR_TPL_UNREC
    topology_compression_format: int = CompressionFormat.NNR_PT_RAW
    topology_data: bytes = b"\0"
    topology_elem_ids: tuple[str, ...] = ()


@dataclass(slots=True)
class Quantization:
    """NNR_QNT. What its data mean is not known here."""

    quantization_storage_format: int = 0
    quantization_compression_format: int = 0
    quantization_data: bytes = b""


@dataclass(slots=True)
class Codebook:
    """Strictly increasing integers; the payload codes indices relative to `zero`, the index of value[zero]."""

    egk: int = 0
    zero: int = 0
    values: tuple[int, ...] = (0,)


@dataclass(slots=True)
class EntryPoint:
    """Where a block row starts in the payload: the arithmetic decoder's window, the quantiser's state, the offset as
    coded (in bits for the first of the list, then the difference to the one before)."""

    value: int = 0
    state: int = 0
    offset: int = 0


@dataclass(slots=True)
class CompressedDataUnit:
    """The header of an NNR_NDU. `tensor_dimensions` holds the shape also where it is not in the unit."""

    nnr_compressed_data_unit_payload_type: int = PayloadType.NNR_PT_FLOAT
    nnr_multiple_topology_elements_present_flag: int = 0
    nnr_decompressed_data_format_present_flag: int = 0
    input_parameters_present_flag: int = 1
    topology_elem_ids: tuple[str, ...] = ("",)
    topology_elem_id_indices: tuple[int, ...] = ()
    node_id_present_flag: int = 1
    device_id: int = 0
    parameter_id: int = 0
    put_node_depth: int = 0
    parent_node_id_present_flag: int = 0
    parent_node_id_type: int = ParentNodeIdType.ICNN_NDU_ID
    temporal_context_modeling_flag: int = 0
    parent_device_id: int = 0
    parent_node_payload_hash: bytes = b""
    codebook_present_flag: int = 0
    codebook: Codebook | None = None
    dq_flag: int = 0
    nnr_decompressed_data_format: int = 1
    tensor_dimensions_flag: int = 1
    cabac_unary_length_flag: int = 1
    compressed_parameter_types: int = 0
    decomposition_rank: int = 0
    g_number_of_rows: int = 0
    tensor_dimensions: tuple[int, ...] = ()
    cabac_unary_length_minus1: int = 9
    codebook_dc: Codebook | None = None
    first_tensor_dimension_shift: int = 0
    scan_order: int = 0
    cabac_entry_points: tuple[EntryPoint, ...] = ()


@dataclass(slots=True)
class StreamParameters:
    """What the syntax of a unit depends on, from the units before it and from the base model."""

    general_profile_idc: int = 1
    topology_indexed: bool = False
    parent_signalling: bool = False
    element_ids: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def performance_map(
    s: Syntax, name: str, entries: tuple[PerformanceEntry, ...], figures: int
) -> tuple[PerformanceEntry, ...]:
    """sparsification_, pruning_ or decomposition_performance_map(). The coded count is one more than the rows."""
    count = s.u(f"{name}_count", 8, len(entries) + 1) - 1
    if count < 0:
        raise s.fail(f"{name}_count", "a performance map of count 0")
    wide = name == "decomposition"
    rows = []
    for j, e in enumerate(s.each(count, entries, PerformanceEntry())):
        row = PerformanceEntry()
        row.figures = tuple(s.flt(f"{name}_figure[{j}][{i}]", f) for i, f in enumerate(s.each(figures, e.figures, 0.0)))
        row.count_classes = s.u(f"{name}_count_classes[{j}]", 16 if wide else 8, e.count_classes)
        if not wide:
            row.class_bitmask = s.ue(f"{name}_class_bitmask[{j}]", 7, e.class_bitmask)
        row.class_accuracies = tuple(
            s.flt(f"{name}_nn_class_accuracy[{j}][{i}]", a)
            for i, a in enumerate(s.each(row.count_classes, e.class_accuracies, 0.0))
        )
        rows.append(row)
    return tuple(rows)


def unification_map(s: Syntax, entries: tuple[PerformanceEntry, ...]) -> tuple[PerformanceEntry, ...]:
    """unification_performance_map(). NNCodec loops over the class bitmask where the other maps loop over the class
    count; that is taken for its mistake."""
    name = "unification"
    count = s.u("unification_count", 8, len(entries) + 1) - 1
    if count < 0:
        raise s.fail("unification_count", "a performance map of count 0")
    rows = []
    for j, e in enumerate(s.each(count, entries, PerformanceEntry())):
        row = PerformanceEntry()
        dims = s.ue(f"count_reshaped_tensor_dimension[{j}]", 1, len(e.reshaped_dims) + 1) - 1
        row.reshaped_dims = tuple(
            s.ue(f"reshaped_tensor_dimensions[{j}][{i}]", 7, d) for i, d in enumerate(s.each(dims, e.reshaped_dims, 0))
        )
        s.align()
        for attribute, element in (("super_block_dims", "super_block_dimensions"), ("block_dims", "block_dimensions")):
            given: tuple[int, ...] = getattr(e, attribute)
            dims = s.u(f"count_{element}[{j}]", 8, len(given) + 1) - 1
            values = tuple(s.u(f"{element}[{j}][{i}]", 8, d) for i, d in enumerate(s.each(dims, given, 0)))
            setattr(row, attribute, values)
        row.figures = tuple(s.flt(f"{name}_figure[{j}][{i}]", f) for i, f in enumerate(s.each(2, e.figures, 0.0)))
        row.count_classes = s.u(f"{name}_count_classes[{j}]", 8, e.count_classes)
        row.class_bitmask = s.ue(f"{name}_class_bitmask[{j}]", 7, e.class_bitmask)
        row.class_accuracies = tuple(
            s.flt(f"{name}_nn_class_accuracy[{j}][{i}]", a)
            for i, a in enumerate(s.each(row.count_classes, e.class_accuracies, 0.0))
        )
        rows.append(row)
    return tuple(rows)


def model_parameter_set(s: Syntax, m: ModelParameterSet, p: StreamParameters) -> None:
    """nnr_model_parameter_set_unit_payload() up to and with the quantisation parameter: all that decoding needs."""
    m.topology_carriage_flag = s.u("topology_carriage_flag", 1, m.topology_carriage_flag)
    m.mps_sparsification_flag = s.u("mps_sparsification_flag", 1, m.mps_sparsification_flag)
    m.mps_pruning_flag = s.u("mps_pruning_flag", 1, m.mps_pruning_flag)
    m.mps_unification_flag = s.u("mps_unification_flag", 1, m.mps_unification_flag)
    m.mps_decomposition_performance_map_flag = s.u(
        "mps_decomposition_performance_map_flag", 1, m.mps_decomposition_performance_map_flag
    )
    m.mps_quantization_method_flags = s.u("mps_quantization_method_flags", 3, m.mps_quantization_method_flags)
    m.mps_topology_indexed_reference_flag = s.u(
        "mps_topology_indexed_reference_flag", 1, m.mps_topology_indexed_reference_flag
    )
    if p.general_profile_idc == 1:
        m.base_model_id_present_flag = s.u("base_model_id_present_flag", 1, m.base_model_id_present_flag)
        m.validation_set_performance_present_flag = s.u(
            "validation_set_performance_present_flag", 1, m.validation_set_performance_present_flag
        )
        m.metric_type_performance_map_valid_flag = s.u(
            "metric_type_performance_map_valid_flag", 1, m.metric_type_performance_map_valid_flag
        )
        m.mps_parent_signalling_enabled_flag = s.u(
            "mps_parent_signalling_enabled_flag", 1, m.mps_parent_signalling_enabled_flag
        )
        if m.mps_parent_signalling_enabled_flag:
            m.nnr_pre_flag = s.u("nnr_pre_flag", 1, m.nnr_pre_flag)
            m.nnr_reserved_zero_bits = s.u("nnr_reserved_zero_2bits", 2, m.nnr_reserved_zero_bits)
        else:
            m.nnr_reserved_zero_bits = s.u("nnr_reserved_zero_3bits", 3, m.nnr_reserved_zero_bits)
        if m.base_model_id_present_flag:
            m.base_model_id = s.st("base_model_id", m.base_model_id)
        if m.validation_set_performance_present_flag or m.metric_type_performance_map_valid_flag:
            m.performance_metric_type = s.st("performance_metric_type", m.performance_metric_type)
    else:
        m.nnr_reserved_zero_bits = s.u("nnr_reserved_zero_7bits", 7, m.nnr_reserved_zero_bits)
    if m.mps_quantization_method_flags & QUANTIZATION_METHODS:
        m.mps_qp_density = s.u("mps_qp_density", 3, m.mps_qp_density)
        m.mps_quantization_parameter = s.i("mps_quantization_parameter", 13, m.mps_quantization_parameter)


def model_performance(s: Syntax, m: ModelParameterSet, p: StreamParameters) -> None:
    """The rest of nnr_model_parameter_set_unit_payload(): figures for people."""
    if m.mps_sparsification_flag:
        m.sparsification = performance_map(s, "sparsification", m.sparsification, 3)
    if m.mps_pruning_flag:
        m.pruning = performance_map(s, "pruning", m.pruning, 2)
    if m.mps_unification_flag:
        m.unification = unification_map(s, m.unification)
    if m.mps_decomposition_performance_map_flag:
        m.decomposition = performance_map(s, "decomposition", m.decomposition, 3)
    if p.general_profile_idc == 1 and m.validation_set_performance_present_flag:
        m.validation_set_performance = s.flt("validation_set_performance", m.validation_set_performance)
    s.align()


def layer_parameter_set(s: Syntax, m: LayerParameterSet) -> None:
    """nnr_layer_parameter_set_unit_header() and the payload up to and with the quantisation parameter"""
    m.lps_self_contained_flag = s.u("lps_self_contained_flag", 1, m.lps_self_contained_flag)
    m.nnr_reserved_zero_7bits = s.u("nnr_reserved_zero_7bits", 7, m.nnr_reserved_zero_7bits)
    m.nnr_reserved_zero_1bit = s.u("nnr_reserved_zero_1bit", 1, m.nnr_reserved_zero_1bit)
    m.lps_sparsification_flag = s.u("lps_sparsification_flag", 1, m.lps_sparsification_flag)
    m.lps_pruning_flag = s.u("lps_pruning_flag", 1, m.lps_pruning_flag)
    m.lps_unification_flag = s.u("lps_unification_flag", 1, m.lps_unification_flag)
    m.lps_quantization_method_flags = s.u("lps_quantization_method_flags", 3, m.lps_quantization_method_flags)
    m.nnr_reserved_zero_1bit_2 = s.u("nnr_reserved_zero_1bit", 1, m.nnr_reserved_zero_1bit_2)
    if m.lps_quantization_method_flags & QUANTIZATION_METHODS:
        m.lps_qp_density = s.u("lps_qp_density", 3, m.lps_qp_density)
        m.lps_quantization_parameter = s.i("lps_quantization_parameter", 13, m.lps_quantization_parameter)


def layer_performance(s: Syntax, m: LayerParameterSet) -> None:
    """The rest of nnr_layer_parameter_set_unit_payload()"""
    if m.lps_sparsification_flag:
        m.sparsification = performance_map(s, "sparsification", m.sparsification, 3)
    if m.lps_pruning_flag:
        m.pruning = performance_map(s, "pruning", m.pruning, 2)
    if m.lps_unification_flag:
        m.unification = unification_map(s, m.unification)
    s.align()


def topology(s: Syntax, m: Topology) -> None:
    """nnr_topology_unit_header() and nnr_topology_unit_payload()"""
    m.topology_storage_format = s.u("topology_storage_format", 8, m.topology_storage_format)
    m.topology_compression_format = s.u("topology_compression_format", 8, m.topology_compression_format)
    if (
        m.topology_storage_format == TopologyFormat.NNR_TPL_REFLIST
        and m.topology_compression_format == CompressionFormat.NNR_PT_RAW
    ):
        count = s.ue("count_topology_elem_ids_minus2", 7, len(m.topology_elem_ids) - 2) + 2
        s.align()
        m.topology_elem_ids = tuple(
            s.st(f"topology_elem_id_list[{j}]", e) for j, e in enumerate(s.each(count, m.topology_elem_ids, ""))
        )
    else:
        m.topology_data = s.rest("topology_data", m.topology_data)


def quantization(s: Syntax, m: Quantization) -> None:
    """nnr_quantization_unit_header() and nnr_quantization_unit_payload()"""
    m.quantization_storage_format = s.u("quantization_storage_format", 8, m.quantization_storage_format)
    m.quantization_compression_format = s.u("quantization_compression_format", 8, m.quantization_compression_format)
    m.quantization_data = s.rest("quantization_data", m.quantization_data)


def codebook(s: Syntax, m: Codebook, name: str) -> None:
    """codebook()"""
    m.egk = s.u(f"codebook_egk{name}", 4, m.egk)
    size = s.ue(f"codebook_size{name}", 2, len(m.values))
    m.zero = (size >> 1) + s.ie(f"codebook_centre_offset{name}", 2, m.zero - (len(m.values) >> 1))
    if not 0 <= m.zero < size:
        raise s.fail(f"codebook_centre_offset{name}", f"index {m.zero} of a codebook of {size}")
    given = list(s.each(size, m.values, 0))
    given[m.zero] = s.ie(f"codebook_zero_value{name}", 7, given[m.zero])
    for j in range(m.zero - 1, -1, -1):
        given[j] = given[j + 1] - 1 - s.ue(f"codebook_delta_left{name}[{j}]", m.egk, given[j + 1] - 1 - given[j])
    for j in range(m.zero + 1, size):
        given[j] = given[j - 1] + 1 + s.ue(f"codebook_delta_right{name}[{j}]", m.egk, given[j] - given[j - 1] - 1)
    m.values = tuple(given)
    if m.values[0] < -(2**31) or m.values[-1] >= 2**31:
        raise s.fail(f"codebook{name}", "a value beyond 32 bits")


def decomposed_shapes(m: CompressedDataUnit) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of G and H, whose product is the weight."""
    size = 1
    for d in m.tensor_dimensions:
        size *= d
    columns = size // m.g_number_of_rows if m.g_number_of_rows else 0
    return (m.g_number_of_rows, m.decomposition_rank), (m.decomposition_rank, columns)


def entry_point_count(m: CompressedDataUnit) -> int:
    """Block rows beyond the first of all matrices that the unit codes in blocks."""
    edge = 4 << m.scan_order
    heights = [m.tensor_dimensions[0]]
    if m.compressed_parameter_types & ParameterTypes.NNR_CPT_DC:
        g, h = decomposed_shapes(m)
        if m.nnr_compressed_data_unit_payload_type == PayloadType.NNR_PT_BLOCK:
            heights = [g[0], h[0]]
        else:
            heights = [h[0] if m.topology_elem_ids[0].endswith("_H") else g[0]]
    return sum(-(-height // edge) - 1 for height in heights)


def element_ids(s: Syntax, m: CompressedDataUnit, p: StreamParameters) -> None:
    """topology_elements_ids_list(), or the one id of a unit with one tensor"""
    several = m.nnr_multiple_topology_elements_present_flag
    count = 1
    if several:
        count = s.ue("count_topology_elements_minus2", 7, max(len(m.topology_elem_ids), 2) - 2) + 2
    name = "topology_elem_id_list[{}]" if several else "topology_elem_id"
    if p.topology_indexed:
        name = "topology_elem_id_index_list[{}]" if several else "topology_elem_id_index"
        m.topology_elem_id_indices = tuple(
            s.ue(name.format(j), 7, e) for j, e in enumerate(s.each(count, m.topology_elem_id_indices, 0))
        )
        if several:
            s.align()
        for j in m.topology_elem_id_indices:
            if j >= len(p.element_ids):
                raise s.fail(name, f"element {j} of a topology that lists {len(p.element_ids)}")
        m.topology_elem_ids = tuple(p.element_ids[j] for j in m.topology_elem_id_indices)
        return
    if several:
        s.align()
    m.topology_elem_ids = tuple(s.st(name.format(j), e) for j, e in enumerate(s.each(count, m.topology_elem_ids, "")))


def node_ids(s: Syntax, m: CompressedDataUnit, p: StreamParameters) -> None:
    """What an edition-2 unit says about itself and about what it is an update of"""
    m.node_id_present_flag = s.u("node_id_present_flag", 1, m.node_id_present_flag)
    if m.node_id_present_flag:
        m.device_id = s.ue("device_id", 1, m.device_id)
        m.parameter_id = s.ue("parameter_id", 5, m.parameter_id)
        m.put_node_depth = s.ue("put_node_depth", 4, m.put_node_depth)
    if not p.parent_signalling:
        return
    m.parent_node_id_present_flag = s.u("parent_node_id_present_flag", 1, m.parent_node_id_present_flag)
    if not m.parent_node_id_present_flag:
        return
    m.parent_node_id_type = s.u("parent_node_id_type", 2, m.parent_node_id_type)
    m.temporal_context_modeling_flag = s.u("temporal_context_modeling_flag", 1, m.temporal_context_modeling_flag)
    if m.parent_node_id_type == ParentNodeIdType.ICNN_NDU_ID:
        m.parent_device_id = s.ue("parent_device_id", 1, m.parent_device_id)
        if not m.node_id_present_flag:
            m.parameter_id = s.ue("parameter_id", 5, m.parameter_id)
            m.put_node_depth = s.ue("put_node_depth", 4, m.put_node_depth)
    elif m.parent_node_id_type == ParentNodeIdType.ICNN_NDU_PL_SHA256:
        m.parent_node_payload_hash = s.octets("parent_node_payload_sha256", 32, m.parent_node_payload_hash)
    elif m.parent_node_id_type == ParentNodeIdType.ICNN_NDU_PL_SHA512:
        m.parent_node_payload_hash = s.octets("parent_node_payload_sha512", 64, m.parent_node_payload_hash)
    else:
        raise UnsupportedError(f"parent_node_id_type {m.parent_node_id_type}", field="parent_node_id_type")


def input_parameters(s: Syntax, m: CompressedDataUnit) -> None:
    m.tensor_dimensions_flag = s.u("tensor_dimensions_flag", 1, m.tensor_dimensions_flag)
    m.cabac_unary_length_flag = s.u("cabac_unary_length_flag", 1, m.cabac_unary_length_flag)
    m.compressed_parameter_types = s.u("compressed_parameter_types", 4, m.compressed_parameter_types)
    if m.compressed_parameter_types & ParameterTypes.NNR_CPT_DC:
        m.decomposition_rank = s.ue("decomposition_rank", 3, m.decomposition_rank)
        m.g_number_of_rows = s.ue("g_number_of_rows", 3, m.g_number_of_rows)
    if m.tensor_dimensions_flag:
        count = s.ue("count_tensor_dimensions", 1, len(m.tensor_dimensions))
        m.tensor_dimensions = tuple(
            s.ue(f"tensor_dimensions[{j}]", 7, d) for j, d in enumerate(s.each(count, m.tensor_dimensions, 0))
        )
    if m.nnr_multiple_topology_elements_present_flag and (
        m.nnr_compressed_data_unit_payload_type != PayloadType.NNR_PT_BLOCK
    ):
        raise UnsupportedError("one tensor for several topology elements", field="topology_tensor_dimension_mapping")
    if m.cabac_unary_length_flag:
        m.cabac_unary_length_minus1 = s.u("cabac_unary_length_minus1", 8, m.cabac_unary_length_minus1)


def entry_points(s: Syntax, m: CompressedDataUnit) -> None:
    """cabac_entry_point_list()"""
    points = []
    for j, e in enumerate(s.each(entry_point_count(m), m.cabac_entry_points, EntryPoint())):
        point = EntryPoint(s.u(f"cabac_entry_point_value[{j}]", 8, e.value))
        if m.dq_flag:
            point.state = s.u(f"cabac_entry_point_dq_state[{j}]", 3, e.state)
        if j == 0:
            point.offset = s.ue("cabac_entry_point_bit_offset", 11, e.offset)
        else:
            point.offset = s.ie(f"cabac_entry_point_bit_offset_delta[{j}]", 7, e.offset)
        points.append(point)
    m.cabac_entry_points = tuple(points)


def compressed_data_unit(s: Syntax, m: CompressedDataUnit, p: StreamParameters) -> None:
    """nnr_compressed_data_unit_header()"""
    kind = s.u("nnr_compressed_data_unit_payload_type", 5, m.nnr_compressed_data_unit_payload_type)
    m.nnr_compressed_data_unit_payload_type = kind
    m.nnr_multiple_topology_elements_present_flag = s.u(
        "nnr_multiple_topology_elements_present_flag", 1, m.nnr_multiple_topology_elements_present_flag
    )
    m.nnr_decompressed_data_format_present_flag = s.u(
        "nnr_decompressed_data_format_present_flag", 1, m.nnr_decompressed_data_format_present_flag
    )
    m.input_parameters_present_flag = s.u("input_parameters_present_flag", 1, m.input_parameters_present_flag)
    element_ids(s, m, p)
    if kind > PayloadType.NNR_PT_BLOCK:
        raise UnsupportedError(f"payload type {kind}", field="nnr_compressed_data_unit_payload_type")
    block = kind == PayloadType.NNR_PT_BLOCK
    if block and not m.nnr_multiple_topology_elements_present_flag:
        raise UnsupportedError("a block of one tensor", field="nnr_multiple_topology_elements_present_flag")
    if p.general_profile_idc == 1:
        node_ids(s, m, p)
    if block or kind == PayloadType.NNR_PT_FLOAT:
        m.codebook_present_flag = s.u("codebook_present_flag", 1, m.codebook_present_flag)
        if m.codebook_present_flag:
            m.codebook = m.codebook or Codebook()
            codebook(s, m.codebook, "")
    if kind != PayloadType.NNR_PT_RAW_FLOAT:
        m.dq_flag = s.u("dq_flag", 1, m.dq_flag)
    if m.nnr_decompressed_data_format_present_flag:
        m.nnr_decompressed_data_format = s.u("nnr_decompressed_data_format", 7, m.nnr_decompressed_data_format)
    if m.input_parameters_present_flag:
        input_parameters(s, m)
    if not (m.input_parameters_present_flag and m.tensor_dimensions_flag):
        known = p.shapes.get(weight_name(m))
        if known is None:
            raise s.fail(
                "tensor_dimensions", f"the shape of {weight_name(m)!r} is not in the stream and no base gives it"
            )
        m.tensor_dimensions = known
    decomposed = m.compressed_parameter_types & ParameterTypes.NNR_CPT_DC
    if block and decomposed and m.codebook_present_flag:
        m.codebook_dc = m.codebook_dc or Codebook()
        codebook(s, m.codebook_dc, "_dc")
    if len(m.tensor_dimensions) > 1:
        if p.general_profile_idc == 1:
            m.first_tensor_dimension_shift = s.ue("first_tensor_dimension_shift", 1, m.first_tensor_dimension_shift)
        m.scan_order = s.u("scan_order", 4, m.scan_order)
        if m.scan_order > 4:
            raise UnsupportedError(f"scan order {m.scan_order}", field="scan_order")
        if m.scan_order:
            entry_points(s, m)
    s.align()


def weight_name(m: CompressedDataUnit) -> str:
    """The name under which a base model knows the shape that the unit refers to."""
    name = m.topology_elem_ids[0]
    if m.compressed_parameter_types & ParameterTypes.NNR_CPT_DC:
        return name.removesuffix("_G").removesuffix("_H")
    return name
