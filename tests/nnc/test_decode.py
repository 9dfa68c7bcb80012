"""Payloads to tensors, against the reference vectors in ../shared."""

from pathlib import Path

import numpy as np
import pytest

from nnpf import nnc
from tests.nnc.vectors import OWN, arrays, assert_same, own_payloads, reference_vectors


def test_every_vector_decodes_to_exactly_the_stored_tensors(shared: Path) -> None:
    found = reference_vectors(shared)
    assert len(found) >= 115
    for vector in found:
        if vector.name.startswith("x11"):
            continue  # its shapes come from a base, see below
        decoder = nnc.Decoder()
        for before in vector.about["requires"]:
            decoder.decode((vector.folder / f"{before}.nnc").read_bytes())
        assert_same(decoder.decode(vector.payload), vector.decoded)


def test_our_own_streams_decode_to_exactly_the_stored_tensors() -> None:
    payloads = own_payloads()
    assert len(payloads) >= 15
    sequence = nnc.Decoder()
    for name, payload in payloads.items():
        tensors = sequence.decode(payload) if name.startswith("update_") else nnc.decode(payload)
        assert_same(tensors, arrays(OWN / f"{name}.npz"))


@pytest.mark.parametrize("name", ["d01_dq_default", "s02_scan2_dq1", "k04_block_lsa_bn", "z01_long_unit"])
def test_threads_do_not_change_the_result(shared: Path, name: str) -> None:
    data = (shared / "vectors" / "nnc" / f"{name}.nnc").read_bytes()
    one, many = nnc.decode(data, threads=1), nnc.decode(data, threads=4)
    assert list(one) == list(many)
    assert_same(one, many)


def test_shapes_that_the_stream_omits_come_from_the_base(shared: Path) -> None:
    folder = shared / "vectors" / "nnc"
    data = (folder / "x11_diff_block_oob_dims.nnc").read_bytes()
    with pytest.raises(nnc.NncError, match=r"the shape of 'c\.weight' is not in the stream") as error:
        nnc.decode(data)
    assert error.value.field == "tensor_dimensions"
    assert error.value.offset is not None
    expected = arrays(folder / "x11_diff_block_oob_dims.npz")
    base = nnc.encode({name: np.ones(value.shape, np.float32) for name, value in expected.items()})
    decoder = nnc.Decoder()
    decoder.decode(base)
    assert_same(decoder.decode(data), expected)


def test_temporal_contexts_without_the_base_are_an_error(shared: Path) -> None:
    data = (shared / "vectors" / "nnc" / "inc_tca_2.nnc").read_bytes()
    with pytest.raises(nnc.NncError, match="refers to an earlier unit"):
        nnc.decode(data)


def test_updates_out_of_order_are_an_error(shared: Path) -> None:
    folder = shared / "vectors" / "nnc"
    decoder = nnc.Decoder()
    decoder.decode((folder / "inc_tca_0.nnc").read_bytes())
    decoder.decode((folder / "inc_tca_1.nnc").read_bytes())
    with pytest.raises(nnc.NncError, match="do not follow on the reference"):
        decoder.decode((folder / "inc_tca_3.nnc").read_bytes())
    decoder.decode((folder / "inc_tca_2.nnc").read_bytes())  # the failure has left the decoder as it was


def test_a_copy_of_a_decoder_goes_its_own_way(shared: Path) -> None:
    folder = shared / "vectors" / "nnc"
    decoder = nnc.Decoder()
    decoder.decode((folder / "inc_hdsp_0.nnc").read_bytes())
    other = decoder.copy()
    decoder.decode((folder / "inc_hdsp_1.nnc").read_bytes())
    expected = arrays(folder / "inc_hdsp_1.npz")
    assert_same(other.decode((folder / "inc_hdsp_1.nnc").read_bytes()), expected)
