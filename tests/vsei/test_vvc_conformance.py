"""Every parameter set and header of real streams: written back bit by bit, and element by element what FFmpeg reads."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vsei.ffmpeg_trace import Element, trace_of_file
from vsei.annexb import rbsp, read_chunks, split
from vsei.nal import Codec, NalHeader, read_header
from vsei.syntax import TraceEntry, write
from vsei.vvc.nal_units import HeaderState

SHARED = Path(__file__).resolve().parents[3] / "shared"
STREAMS = sorted(
    [*(SHARED / "conformance").glob("*.bit"), *(SHARED / "vectors").glob("*/*.266")], key=lambda path: path.name
)

# Where FFmpeg's names are not the standard's:
# ref_pic_list_struct( listIdx, rplsIdx ): FFmpeg leaves these two subscripts out, and keeps those after them.
WITHOUT_LIST_SUBSCRIPTS = {
    "num_ref_entries",
    "ltrp_in_header_flag",
    "inter_layer_ref_pic_flag",
    "st_ref_pic_flag",
    "abs_delta_poc_st",
    "strp_entry_sign_flag",
    "rpls_poc_lsb_lt",
    "ilrp_idx",
}


def nal_units(path: Path) -> Iterator[tuple[NalHeader, memoryview]]:
    with path.open("rb") as file:
        for unit in split(read_chunks(file)):
            yield read_header(Codec.VVC, unit.data), unit.data


def as_ffmpeg_names(name: str) -> str:
    plain, *subscripts = re.split(r"(?=\[)", name)
    return plain + "".join(subscripts[2:] if plain in WITHOUT_LIST_SUBSCRIPTS else subscripts)


def our_trace(path: Path) -> list[tuple[str, list[Element]]]:
    state, structures = HeaderState(), []
    for header, data in nal_units(path):
        entries: list[TraceEntry] = []
        structure = state.read(header, data, entries)
        if structure is not None:
            elements = [Element(e.position, as_ffmpeg_names(e.element), e.length, int(e.value)) for e in entries]
            structures.append((structure.name, elements))
    return structures


@pytest.mark.parametrize("path", STREAMS or ["none"], ids=lambda path: Path(path).stem)
def test_written_back_bit_by_bit(path: Path, shared: Path) -> None:
    state = HeaderState()
    read = 0
    for header, data in nal_units(path):
        structure = state.read(header, data)
        if structure is None:
            continue
        read += 1
        assert structure.out_of_range == ()
        assert structure.unread_bits == 0
        written = write(state.describe, structure.values)
        assert written.target.bytes() == rbsp(data)[: structure.bits // 8]
    assert read >= 3  # an SPS, a PPS and a slice at least


@pytest.mark.parametrize("path", STREAMS or ["none"], ids=lambda path: Path(path).stem)
def test_read_as_ffmpeg_reads_it(path: Path, shared: Path) -> None:
    ours = our_trace(path)
    # A title inside an SEI NAL unit (one for each message) begins no NAL unit.
    theirs = [
        (title, elements)
        for title, elements in trace_of_file(path, "vvc")
        if elements[0].name == "forbidden_zero_bit" and "Supplemental Enhancement" not in title
    ]
    assert [len(elements) for _, elements in ours] == [len(elements) for _, elements in theirs]
    for (name, our_elements), (_, their_elements) in zip(ours, theirs, strict=True):
        assert our_elements == their_elements, name
