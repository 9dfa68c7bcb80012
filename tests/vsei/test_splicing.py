"""The scan of bytes finds the pictures that the grouping of NAL units finds, and puts messages where `inject` does."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vsei.encoded import encode
from vsei import edit, sei, selection
from vsei.annexb import split
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.grouping import groups
from vsei.nal import Avc, Codec
from vsei.outline import LOOK_AHEAD, Outline
from vsei.pictures import picture_units
from vsei.sei import SeiMessage
from vsei.splicing import splice

NOTE = SeiMessage(5, bytes(16) + b"a note")
OTHER = SeiMessage(5, bytes(16) + b"another")


def streams(shared):
    return [*sorted(shared.glob("vectors/*/*.266")), *sorted(shared.glob("conformance/*.bit"))]


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def readinto1(self, buffer) -> int:
        return self.readinto(memoryview(buffer)[: self.most])


def outlined(data: bytes, codec: Codec, block: int) -> list:
    """What Outline finds, fed `block` bytes at a time and given no more of the past than it asks for."""
    outline, base, scanned, found = Outline(codec, every=True), 0, 0, []
    held = b""
    for at in [*range(0, len(data), block), None]:
        held += bytes(LOOK_AHEAD) if at is None else data[at : at + block]
        places, scanned = outline.scan(held, base, scanned, len(held))
        found += [(p.offset, p.start) for p in places]
        cut = outline.settled - base
        held, base, scanned = held[cut:], base + cut, scanned - cut
    return found


def grouped(data: bytes, codec: Codec) -> list:
    return [(g.units[edit.place(g, codec)].nal.offset, g.start) for g in groups(split([data]), codec) if g.start]


def spliced(data: bytes, codec: Codec, placements, block=1 << 20, **options) -> bytes:
    out = io.BytesIO()
    result = splice(Trickle(data, block), out, codec, placements, **options)
    assert (result.bytes_in, result.bytes_out) == (len(data), len(out.getvalue()))
    return out.getvalue()


def test_pictures_and_places_are_the_same_in_all_streams(shared):
    for path in streams(shared):
        data = path.read_bytes()
        assert outlined(data, Codec.VVC, 5000) == grouped(data, Codec.VVC), path.name


def test_open_gops_of_h264_begin_at_recovery_points():
    """x264 writes I pictures that are no IDR pictures, with recovery point SEI; messages go behind that."""
    data = encode("libx264", "open-gop=1:keyint=8:bframes=3")
    assert outlined(data, Codec.AVC, 1000) == grouped(data, Codec.AVC)
    placements = [Placement(selection.parse("random_access"), NOTE)]
    out = spliced(data, Codec.AVC, placements, 1000)
    assert out == b"".join(u.to_bytes() for u in edit.inject(split([data]), Codec.AVC, placements))
    found = [unit for unit in picture_units(split([out]), Codec.AVC) if NOTE in messages_of(unit)]
    assert [unit.picture.slice_type for unit in found] == ["I", "I", "I"]
    assert [unit.picture.is_irap for unit in found] == [True, False, False]
    assert [len(unit) for unit in map(messages_of, found)] == [2, 2, 2]


def messages_of(unit) -> list[SeiMessage]:
    headers = zip(unit.units, unit.headers, strict=True)
    return [
        m for nal, header in headers if header.nal_unit_type == Avc.SEI for m in sei.parse(header, nal.data).messages
    ]


# NAL units of all types and some broken headers, in any order: what the two say must be the same whatever comes.
def header_bytes(codec: Codec):
    if codec is Codec.AVC:
        return (st.integers(0, 255) | st.sampled_from([1, 6])).map(lambda b: bytes([b]))
    return st.tuples(st.sampled_from([0, 0, 0, 1, 0x81]), st.integers(0, 255)).map(bytes)


def nal_units(codec: Codec):
    start_code = st.sampled_from([b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\0\1"])
    bodies = [b"", b"\x80", b"\x80\x80", b"\x40\0\0\3\1", b"\xd2\1\x80"]
    # recovery_frame_cnt 0, alone and after another message, and 1; in H.264 decoding can start at the first two
    bodies += [b"\6\1\xc4\x80", b"\1\2\0\0\3\6\1\xc4\x80", b"\6\1\x51\x80"]
    body = st.sampled_from(bodies)
    return st.lists(st.tuples(start_code, header_bytes(codec), body).map(b"".join), min_size=1, max_size=30)


@pytest.mark.parametrize("codec", Codec)
@given(data=st.data())
def test_pictures_and_places_are_the_same_in_any_stream(codec, data):
    stream = data.draw(st.sampled_from([b"", b"\0\0\0", b"junk"])) + b"".join(data.draw(nal_units(codec)))
    found = outlined(stream, codec, data.draw(st.integers(1, 40)))
    assert found == grouped(stream, codec)


@pytest.mark.parametrize("codec", Codec)
@given(data=st.data())
def test_splicing_gives_what_injecting_gives(codec, data):
    stream = data.draw(st.sampled_from([b"", b"\0\0\0", b"junk"])) + b"".join(data.draw(nal_units(codec)))
    kind = data.draw(st.sampled_from(["all", "random_access", "clvs_start", "first", "decode:1-3"]))
    placements = [Placement(selection.parse(kind), NOTE), Placement(selection.parse("random_access"), OTHER)]
    told, expected = [], []

    def run(work):
        try:
            return work()
        except VseiError as error:
            return str(error)

    def inject():
        units = edit.inject(split([stream]), codec, placements, tell=expected.append)
        return b"".join(u.to_bytes() for u in units)

    wanted = run(inject)
    block = data.draw(st.integers(1, 40))
    assert run(lambda: spliced(stream, codec, placements, block, tell=told.append)) == wanted
    assert run(lambda: spliced(stream, codec, placements, block, count=False)) == wanted
    if isinstance(wanted, bytes):
        assert told == expected


@pytest.mark.parametrize("at", ["all", "random_access", "first"])
def test_splicing_gives_what_injecting_gives_in_all_streams(shared, at):
    for path in streams(shared):
        data = path.read_bytes()
        placements = [Placement(selection.parse(at), NOTE)]
        units = edit.inject(split([data]), Codec.VVC, placements, on_existing="keep")
        expected = b"".join(u.to_bytes() for u in units)
        for count in (True, False):
            out = spliced(data, Codec.VVC, placements, 7000, keep_existing=True, count=count)
            assert out == expected, path.name


def test_messages_that_are_there_already_are_refused_at_their_offset(shared):
    data = (shared / "vectors/vtm/s01_vq_uri_ra.266").read_bytes()
    placements = [Placement(selection.parse("random_access"), NOTE)]
    with pytest.raises(VseiError) as of_units:
        list(edit.inject(split([data]), Codec.VVC, placements))
    with pytest.raises(VseiError) as of_bytes:
        spliced(data, Codec.VVC, placements)
    assert str(of_bytes.value) == str(of_units.value)


def test_the_decided_pictures_are_taken(samples):
    data = (samples / "bbb_q37.266").read_bytes()
    placements = [Placement(selection.parse("poc:8,16"), NOTE)]
    decided = edit.decide(split([data]), Codec.VVC, placements)
    expected = b"".join(u.to_bytes() for u in edit.inject(split([data]), Codec.VVC, placements, decided))
    assert spliced(data, Codec.VVC, placements, decided=decided) == expected


@pytest.mark.parametrize("data", [b"no start code here", bytes(100)])
def test_what_is_no_byte_stream_is_refused(data):
    with pytest.raises(VseiError, match="offset 0: no start code; not an Annex B byte stream"):
        spliced(data, Codec.VVC, [])


def test_what_was_read_already_is_taken_first(samples):
    data = (samples / "bbb_q37.266").read_bytes()
    placements = [Placement(selection.parse("random_access"), NOTE)]
    out = io.BytesIO()
    splice(io.BytesIO(data[5000:]), out, Codec.VVC, placements, head=data[:5000])
    assert out.getvalue() == spliced(data, Codec.VVC, placements)
