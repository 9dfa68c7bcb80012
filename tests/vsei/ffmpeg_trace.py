"""FFmpeg's own reading of H.266, H.265 and H.264 headers: its `trace_headers` bitstream filter, through PyAV."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import av
import av.logging
import pytest

LINE = re.compile(r"^(\d+)\s+(\S+)\s+([01]*) = (-?\d+)$")


class Element(NamedTuple):
    position: int
    name: str
    length: int
    value: int | str


def trace_of_file(path: Path, demuxer: str) -> list[tuple[str, list[Element]]]:
    """The structures of a stream, each with FFmpeg's title (`Sequence Parameter Set`) and its elements."""
    with av.open(str(path), format=demuxer) as container:
        stream = container.streams.video[0]
        return trace_of_packets((p for p in container.demux(stream) if p.size), stream)


def trace_of_packets(
    packets: Iterable[av.Packet], stream: av.VideoStream, bsf: av.bitstream.BitStreamFilterContext | None = None
) -> list[tuple[str, list[Element]]]:
    """The same of packets in Annex B form. What the filter refuses ends with the element before the fault.

    `bsf`: a filter that has seen the packets before these; a new one otherwise.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)
    try:
        bsf = bsf or av.bitstream.BitStreamFilterContext("trace_headers", stream)
        with av.logging.Capture() as lines:
            for packet in packets:
                with contextlib.suppress(av.error.FFmpegError):
                    bsf.filter(packet)
    finally:
        av.logging.set_level(before)
    structures: list[tuple[str, list[Element]]] = []
    for _, source, text in lines:
        if source != "trace_headers":
            continue
        if match := LINE.match(text.strip()):
            structures[-1][1].append(Element(int(match[1]), match[2], len(match[3]), int(match[4])))
        else:
            structures.append((text.strip(), []))
    if not structures:
        pytest.fail("trace_headers printed nothing")
    return [(title, elements) for title, elements in structures if elements]


def joined(elements: list[Element], numbers: Iterable[str], bits: Iterable[str]) -> list[Element]:
    """FFmpeg prints long elements in several lines. Those of `numbers` become one number, those of `bits` a string."""
    out: list[Element] = []
    for element in elements:
        if element.name in numbers or element.name in bits:
            text = format(element.value, f"0{element.length}b")
            if out and out[-1].name == element.name and out[-1].position + out[-1].length == element.position:
                last = out.pop()
                before = last.value if isinstance(last.value, str) else format(last.value, f"0{last.length}b")
                element, text = last, before + text
            element = element._replace(length=len(text), value=text if element.name in bits else int(text, 2))
        out.append(element)
    return out
