"""SEI NAL units: any number of messages, of any size, byte-exact; broken ones end in a problem, not in an exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsei import sei
from vsei.nal import Codec, NalHeader, Vvc, read_header
from vsei.sei import SeiMessage

HEADER = NalHeader(Codec.VVC, Vvc.PREFIX_SEI, 0, 2)
MESSAGES = st.lists(
    st.builds(SeiMessage, st.integers(0, 700), st.binary(max_size=600) | st.just(bytes(5000))), min_size=1, max_size=5
)


@given(MESSAGES)
def test_what_is_built_is_parsed_again(messages):
    nal_unit = sei.build(HEADER, messages)
    parsed = sei.parse(read_header(Codec.VVC, nal_unit), nal_unit)
    assert parsed.messages == tuple(messages)
    assert parsed.problem is None
    assert parsed.header == HEADER


@pytest.mark.parametrize("size", [0, 254, 255, 256, 510, 511, 65_536, 2_000_000])
def test_sizes_around_the_ff_bytes(size):
    message = SeiMessage(210, bytes(range(256)) * (size // 256) + bytes(size % 256))
    nal_unit = sei.build(HEADER, [message])
    assert sei.parse(HEADER, nal_unit).messages == (message,)


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_and_built_back(body):
    nal_unit = HEADER.to_bytes() + body
    parsed = sei.parse(HEADER, nal_unit)
    # Unless the bytes hold emulation that no encoder would write, the same bytes come back.
    from vsei.annexb import escape, rbsp

    if escape(rbsp(nal_unit)) == nal_unit:
        assert sei.build(parsed.header, parsed.messages, parsed.tail) == nal_unit


def test_a_payload_that_claims_too_much_is_a_problem_and_the_messages_before_it_stay():
    nal_unit = HEADER.to_bytes() + b"\x05\x01A" + b"\xd2\xff\x10short\x80"
    parsed = sei.parse(HEADER, nal_unit)
    assert parsed.messages == (SeiMessage(5, b"A"),)
    assert parsed.problem is not None
    assert parsed.problem.element == "payload"
    assert parsed.tail.startswith(b"\xd2\xff\x10")
