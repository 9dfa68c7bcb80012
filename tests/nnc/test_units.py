"""Units: what is read is what is written, and the other way round."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnpf import nnc
from nnpf.nnc.bits import Reader, Writer
from nnpf.nnc.syntax import (
    Codebook,
    CompressedDataUnit,
    LayerParameterSet,
    ModelParameterSet,
    PerformanceEntry,
    StreamParameters,
    Topology,
    TopologyFormat,
    UnitType,
    compressed_data_unit,
)
from nnpf.nnc.topology import deflated, format_name, graph_bytes
from nnpf.nnc.units import Start, Unit, read_units, write_unit
from tests.nnc.vectors import own_payloads, reference_vectors


def rewritten(data: bytes, shapes: dict[str, tuple[int, ...]] | None = None) -> bytes:
    p = StreamParameters(shapes=shapes or {})
    return b"".join(write_unit(unit, p) for unit in read_units(data, p))


def test_every_stream_is_written_back_byte_for_byte(shared: Path) -> None:
    for vector in reference_vectors(shared):
        assert rewritten(vector.payload, {"c.weight": (8, 4, 3, 3)}) == vector.payload, vector.name


def test_our_own_streams_are_written_back_byte_for_byte() -> None:
    for name, payload in own_payloads().items():
        assert rewritten(payload) == payload, name


@pytest.mark.parametrize(
    ("order", "value", "bits"),
    [(7, 0, "10000000"), (7, 130, "0100000010"), (1, 4, "0110"), (0, 2, "011")],
)
def test_exp_golomb_codes(order: int, value: int, bits: str) -> None:
    s = Writer()
    s.ue("x", order, value)
    s.u("fill", -len(bits) % 8, 0)
    data = s.octets_written()
    assert bin(int.from_bytes(data, "big") | 1 << 8 * len(data))[3 : 3 + len(bits)] == bits
    assert Reader(data, 0, len(data)).ue("x", order) == value


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-(2**40), 2**40))))
def test_descriptors_read_what_they_write(codes: list[tuple[int, int]]) -> None:
    s = Writer()
    for order, value in codes:
        s.ie("x", order, value)
        s.ue("x", order, abs(value))
        s.flt("x", float(value))
    s.align()
    data = s.octets_written()
    r = Reader(data, 0, len(data))
    for order, value in codes:
        assert (r.ie("x", order), r.ue("x", order), r.flt("x")) == (value, abs(value), float(_single(value)))
    r.align()
    assert r.position == 8 * len(data)


def _single(value: int) -> float:
    return float(np.float32(value))


SMALL = st.integers(0, 40)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6)
ENTRIES = st.lists(
    st.builds(
        PerformanceEntry,
        figures=st.tuples(*[st.floats(0, 1, width=32)] * 3),
        class_bitmask=SMALL,
        class_accuracies=st.lists(st.floats(0, 1, width=32), max_size=3).map(tuple),
    ),
    max_size=3,
).map(lambda entries: tuple(replace(e, count_classes=len(e.class_accuracies)) for e in entries))


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        ModelParameterSet,
        mps_sparsification_flag=st.just(1),
        mps_quantization_method_flags=st.integers(0, 7),
        base_model_id_present_flag=st.just(1),
        validation_set_performance_present_flag=st.just(1),
        mps_parent_signalling_enabled_flag=st.just(1),
        nnr_pre_flag=st.integers(0, 1),
        base_model_id=NAMES,
        performance_metric_type=NAMES,
        validation_set_performance=st.floats(0, 1, width=32),
        sparsification=ENTRIES,
    )
)
def test_model_parameter_sets(mps: ModelParameterSet) -> None:
    if not mps.mps_quantization_method_flags & 3:
        mps = replace(mps, mps_qp_density=2, mps_quantization_parameter=0)
    data = write_unit(Unit(UnitType.NNR_STR, header=Start())) + write_unit(Unit(UnitType.NNR_MPS, header=mps))
    units = list(read_units(data))
    assert units[1].problem is None
    assert units[1].header == mps


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        CompressedDataUnit,
        topology_elem_ids=st.tuples(NAMES),
        device_id=SMALL,
        parameter_id=SMALL,
        put_node_depth=SMALL,
        codebook_present_flag=st.just(1),
        codebook=st.builds(
            lambda values, egk, zero: Codebook(egk, zero % len(values), tuple(sorted(values))),
            st.sets(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9),
            st.integers(0, 15),
            SMALL,
        ),
        dq_flag=st.integers(0, 1),
        tensor_dimensions=st.lists(st.integers(1, 300), min_size=1, max_size=4).map(tuple),
        cabac_unary_length_minus1=st.integers(0, 255),
    ),
    st.binary(max_size=40_000),
)
def test_compressed_data_units(header: CompressedDataUnit, payload: bytes) -> None:
    data = write_unit(Unit(UnitType.NNR_NDU, header=header, payload=payload))
    (unit,) = read_units(data)
    assert unit.problem is None
    assert unit.header == header
    assert unit.payload == payload
    assert unit.long_size == (len(data) > 0x7FFF)


def test_a_layer_parameter_set_changes_the_parameters_of_what_follows() -> None:
    """The same tensor, coded for a model parameter of 0, read under one of -6: its step is other."""
    payload = nnc.encode({"w": np.ones((3, 3), np.float32)}, nnc.Settings(qp=-10, rate_distortion=0))
    units = [write_unit(u, StreamParameters()) for u in read_units(payload)]
    lps = LayerParameterSet(lps_quantization_method_flags=1, lps_qp_density=2, lps_quantization_parameter=-6)
    inserted = b"".join([*units[:2], write_unit(Unit(UnitType.NNR_LPS, header=lps)), *units[2:]])
    decoder = nnc.Decoder()
    decoder.decode(inserted)
    assert decoder.last is not None
    assert [c.qp for c in decoder.last.coded] == [-16]


def test_units_of_unknown_syntax_are_named_and_the_rest_is_decoded() -> None:
    payload = nnc.encode({"w": np.ones((3, 3), np.float32)})
    units = [write_unit(u, StreamParameters()) for u in read_units(payload)]
    others = [bytes([0, 6, (kind << 2) | 2, 1, 2, 3]) for kind in (UnitType.NNR_AGG, 7, 63)]
    partial = units[-1][:2] + bytes([units[-1][2] | 1, 3]) + units[-1][3:]
    partial = len(partial).to_bytes(2, "big") + partial[2:]
    quantization = bytes([0, 7, (UnitType.NNR_QNT << 2) | 2, 0, 0, 65, 0])
    decoder = nnc.Decoder()
    tensors = decoder.decode(b"".join([*units[:2], *others, quantization, *units[2:]]))
    assert list(tensors) == ["w"]
    assert decoder.last is not None
    notes = [str(note) for note in decoder.last.notes]
    assert len(notes) == 4
    assert "NNR_AGG" in notes[0]
    assert "NNR_RESERVED_7" in notes[1]
    assert "NNR_RESERVED_63" in notes[2]
    assert "NNR_QNT" in notes[3]
    decoder.decode(b"".join([*units[:2], partial]))
    assert "unit 2 NNR_NDU 'w': not decoded: a part of a unit, 3 more to come" in str(decoder.last.notes[0])


def test_names_by_index_into_a_list_topology() -> None:
    """mps_topology_indexed_reference_flag: what NNCodec has syntax for and cannot decode."""
    payload = nnc.encode({"second": np.ones((3, 3), np.float32)}, nnc.Settings(rate_distortion=0))
    units = list(read_units(payload))
    p = StreamParameters(topology_indexed=True, element_ids=("first", "second"))
    assert isinstance(units[1].header, ModelParameterSet)
    units[1].header.mps_topology_indexed_reference_flag = 1
    listed = Topology(TopologyFormat.NNR_TPL_REFLIST, topology_elem_ids=("first", "second"))
    assert isinstance(units[2].header, CompressedDataUnit)
    units[2].header.topology_elem_id_indices = (1,)
    data = b"".join(write_unit(u, p) for u in (units[0], units[1], Unit(UnitType.NNR_TPL, header=listed), units[2]))
    assert list(nnc.decode(data)) == ["second"]


def test_topologies_of_other_formats_are_named() -> None:
    assert format_name(Topology(TopologyFormat.NNR_TPL_PYT)) == "PyTorch"
    assert format_name(Topology(TopologyFormat.NNR_TPL_NNEF)) == "NNEF"
    assert format_name(Topology(77)) == "reserved 77"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_deflated_graphs_come_back_and_damage_is_seen(graph: bytes) -> None:
    import zlib

    topology = deflated(graph, TopologyFormat.NNR_TPL_ONNX)
    assert graph_bytes(topology) == graph
    raw = zlib.compressobj(wbits=-15)
    topology.topology_data = raw.compress(graph) + raw.flush()
    assert graph_bytes(topology) == graph  # without the header of RFC 1950
    topology.topology_data = zlib.compress(graph)[:-1]
    with pytest.raises(nnc.NncError):
        graph_bytes(topology)


def test_a_topology_that_inflates_without_end_is_refused() -> None:
    topology = deflated(bytes(10_000_000), TopologyFormat.NNR_TPL_ONNX)
    with pytest.raises(nnc.NncError, match="more than 1000000 bytes"):
        graph_bytes(topology, nnc.Limits(topology_bytes=1_000_000))


# --- what NNCodec cannot handle: parsed where the facts allow, named where they do not, the rest decoded --------------


def rebuilt(payload: bytes, change: Callable[[Unit], Unit], p: StreamParameters | None = None) -> bytes:
    """A payload with its units changed."""
    p = p or StreamParameters()
    return b"".join(write_unit(change(unit), p) for unit in read_units(payload, StreamParameters(shapes=p.shapes)))


def two_tensors() -> bytes:
    tensors = {"first": np.ones((3, 4), np.float32), "second": np.full((2, 5), 0.5, np.float32)}
    return nnc.encode(tensors, nnc.Settings(rate_distortion=0))


def notes_of(payload: bytes) -> tuple[dict[str, np.ndarray], list[str]]:
    decoder = nnc.Decoder()
    tensors = decoder.decode(payload)
    assert decoder.last is not None
    return tensors, [str(note) for note in decoder.last.notes]


@pytest.mark.parametrize(
    ("elements", "left", "message"),
    [
        ({"first_tensor_dimension_shift": 1}, ["second"], "not decoded: first_tensor_dimension_shift: shifted"),
        (
            {"nnr_multiple_topology_elements_present_flag": 1, "topology_elem_ids": ("first", "other")},
            ["second"],
            "NNR_NDU 'first', 'other': not decoded: topology_tensor_dimension_mapping",
        ),
        ({"scan_order": 5}, ["second"], "not decoded: scan_order: scan order 5"),
        (
            {"nnr_compressed_data_unit_payload_type": 9},
            ["second"],
            "not decoded: nnr_compressed_data_unit_payload_type: payload type 9",
        ),
        (
            {"nnr_decompressed_data_format_present_flag": 1, "nnr_decompressed_data_format": 8},
            ["first", "second"],
            "nnr_decompressed_data_format: FLOAT16 is asked for, float32 given",
        ),
    ],
)
def test_what_a_tensor_asks_for_and_nobody_knows(elements: dict[str, object], left: list[str], message: str) -> None:
    def change(unit: Unit) -> Unit:
        if unit.names == ("first",):
            assert isinstance(unit.header, CompressedDataUnit)
            unit.header = replace(unit.header, **elements)  # type: ignore[arg-type]
        return unit

    # Writing refuses what has no known syntax, so that such a unit keeps its bytes up to there.
    try:
        payload = rebuilt(two_tensors(), change)
    except nnc.UnsupportedError:
        payload = with_first_header(elements)
    tensors, notes = notes_of(payload)
    assert list(tensors) == left
    assert len(notes) == 1
    assert message in notes[0]


def with_first_header(elements: dict[str, object]) -> bytes:
    """The two tensors, with the first unit's header written up to what is not known."""
    out = b""
    for unit in read_units(two_tensors()):
        if unit.names == ("first",):
            assert isinstance(unit.header, CompressedDataUnit)
            s = Writer()
            with pytest.raises(nnc.UnsupportedError):
                compressed_data_unit(s, replace(unit.header, **elements), StreamParameters())  # type: ignore[arg-type]
            s.align()
            unit = Unit(
                UnitType.NNR_NDU, payload=s.octets_written() + bytes(8), problem=nnc.UnsupportedError("not known")
            )
        out += write_unit(unit)
    return out


def test_partial_units_are_named() -> None:
    """What a tensor's parts are joined by is not known here; complete units beside them are decoded."""

    def change(unit: Unit) -> Unit:
        unit.partial_data_counter = 1 if unit.names == ("first",) else None
        return unit

    units = [write_unit(u) for u in read_units(rebuilt(two_tensors(), change))]
    last = bytearray(units[2])
    last[3] = 0  # the counter of the last part
    tensors, notes = notes_of(b"".join([*units[:3], bytes(last), units[3]]))
    assert list(tensors) == ["second"]
    assert len(notes) == 2
    assert "NNR_NDU 'first': not decoded: a part of a unit, 1 more to come" in notes[0]


@pytest.mark.parametrize(("index", "message"), [(1, ""), (2, "element 2 of a topology that lists 2")])
def test_indices_beyond_a_reference_list(index: int, message: str) -> None:
    units = list(read_units(two_tensors()))
    p = StreamParameters(topology_indexed=True, element_ids=("first", "second", "third"))
    assert isinstance(units[1].header, ModelParameterSet)
    units[1].header.mps_topology_indexed_reference_flag = 1
    assert isinstance(units[2].header, CompressedDataUnit)
    units[2].header.topology_elem_id_indices = (index,)
    listed = Unit(
        UnitType.NNR_TPL, header=Topology(TopologyFormat.NNR_TPL_REFLIST, topology_elem_ids=("first", "second"))
    )
    payload = b"".join(write_unit(u, p) for u in (units[0], units[1], listed, units[2]))
    if message:
        with pytest.raises(nnc.NncError, match=message):
            nnc.decode(payload)
    else:
        assert list(nnc.decode(payload)) == ["second"]


def test_performance_maps_are_read_and_damaged_ones_only_named() -> None:
    entry = PerformanceEntry(figures=(0.5, 0.25, 0.75), count_classes=1, class_accuracies=(0.5,))

    def change(unit: Unit) -> Unit:
        if isinstance(unit.header, ModelParameterSet):
            unit.header = replace(unit.header, mps_sparsification_flag=1, sparsification=(entry,))
        return unit

    payload = rebuilt(two_tensors(), change)
    tensors, notes = notes_of(payload)
    assert list(tensors) == ["first", "second"]
    assert not notes
    mps = next(u for u in read_units(payload) if u.unit_type == UnitType.NNR_MPS)
    damaged = bytearray(payload)
    damaged[mps.offset + 7] = 0  # sparsification_count
    tensors, notes = notes_of(bytes(damaged))
    assert list(tensors) == ["first", "second"]
    assert "performance figures" in notes[0]


def test_predictive_residuals_are_named() -> None:
    def change(unit: Unit) -> Unit:
        if isinstance(unit.header, ModelParameterSet):
            unit.header = replace(unit.header, nnr_pre_flag=1)
        return unit

    encoder = nnc.Encoder()
    encoder.encode({"w": np.ones((3, 3), np.float32)})
    update = encoder.encode_update({"w": np.full((3, 3), 0.25, np.float32)})
    p = StreamParameters(parent_signalling=True)
    payload = b"".join(write_unit(change(u), p) for u in read_units(update))
    decoder = nnc.Decoder()
    decoder.decode(nnc.Encoder().encode({"w": np.ones((3, 3), np.float32)}))
    decoder.decode(payload)
    assert decoder.last is not None
    assert "predictive residual encoding: tensors are given as coded" in str(decoder.last.notes[0])


@pytest.mark.parametrize(("kind", "digest"), [(1, hashlib.sha256), (2, hashlib.sha512)])
def test_a_parent_by_hash_is_checked(kind: int, digest: Callable[[bytes], "hashlib._Hash"]) -> None:
    """Of the payload of the unit that was decoded before for this tensor."""
    encoder, decoder = nnc.Encoder(), nnc.Decoder()
    base = encoder.encode({"w": np.ones((3, 3), np.float32)})
    parent = next(u for u in read_units(base) if u.unit_type == UnitType.NNR_NDU).payload
    update = encoder.encode_update({"w": np.full((3, 3), 0.25, np.float32)})
    p = StreamParameters(parent_signalling=True)

    def named(hashed: bytes) -> bytes:
        out = b""
        for unit in read_units(update):
            if isinstance(unit.header, CompressedDataUnit):
                unit.header.parent_node_id_type = kind
                unit.header.parent_node_payload_hash = digest(hashed).digest()
            out += write_unit(unit, p)
        return out

    decoder.decode(base)
    assert np.abs(decoder.copy().decode(named(parent))["w"] - 0.25).max() < 0.01
    with pytest.raises(nnc.NncError, match=r"parent_node_payload_sha\d+: the unit is an update of another tensor"):
        decoder.copy().decode(named(parent + b"other"))


@pytest.mark.parametrize("storage", list(TopologyFormat))
def test_topologies_of_every_format_leave_the_tensors(storage: TopologyFormat) -> None:
    """Whatever graph there is, its tensors are decoded; `nnpf.nnc.model` says what cannot be made of the graph."""
    units = [write_unit(u) for u in read_units(two_tensors())]
    ids = ("first", "second") if storage == TopologyFormat.NNR_TPL_REFLIST else ()
    topology = write_unit(Unit(UnitType.NNR_TPL, header=Topology(storage, 0, b"graph\0", ids)))
    tensors, _ = notes_of(b"".join([*units[:2], topology, *units[2:]]))
    assert list(tensors) == ["first", "second"]
