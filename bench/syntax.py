"""Elements per second of the syntax engine: reading, reading with a trace, writing.

    python bench/syntax.py [STREAM.266] [--seconds N]

Over the parameter sets, headers and NNPF messages of a stream; the ratio is to bitstring's reader, which gives the same
number of elements of the same lengths without names, ranges or conditions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from bitstring import Bits, Reader

from vsei import messages
from vsei.annexb import rbsp
from vsei.listing import Wanted, nal_units_of
from vsei.messages import nnpf
from vsei.nal import Codec
from vsei.reading import identify, read_nal_units
from vsei.structures import header_state
from vsei.syntax import Reader as SyntaxReader
from vsei.syntax import TraceEntry, Values
from vsei.syntax import Writer as SyntaxWriter

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "bbb_q37.266"


def rate(run: Callable[[], int], seconds: float) -> float:
    """Elements per second."""
    run()
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        count += run()
    return count / passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    codec, units = identify(read_nal_units(args.stream), args.stream.name)
    listed = [u for u in nal_units_of(units, codec, Wanted(headers=True)) if u.header is not None and not u.messages]

    def read(trace: bool) -> int:
        state = header_state(codec)
        elements = 0
        for unit in listed:
            entries: list[TraceEntry] | None = [] if trace else None
            structure = state.read(unit.header, unit.data, entries) if unit.header else None
            if structure is not None:
                elements += sizes[unit.nal_index] if not trace else len(entries or ())
        return elements

    sizes: dict[int, int] = {}
    lengths: dict[int, list[int]] = {}
    state = header_state(codec)
    for unit in listed:
        entries: list[TraceEntry] = []
        if unit.header is not None:
            state.read(unit.header, unit.data, entries)
        sizes[unit.nal_index], lengths[unit.nal_index] = len(entries), [e.length for e in entries]

    def peer() -> int:
        for unit in listed:
            reader = Reader(Bits.from_bytes(rbsp(unit.data)))
            for length in lengths[unit.nal_index]:
                if length:
                    _ = reader.read_bits(length).u
        return sum(sizes.values())

    values = _nnpfc_values()

    def write() -> int:
        writer = SyntaxWriter(values)
        nnpf.nnpfc(writer)
        return len(values.present)

    by_bitstring = rate(peer, args.seconds)
    print(f"{args.stream.name}: {sum(sizes.values())} elements in {len(listed)} parameter sets and headers")
    print(f"{'bitstring, lengths known':<28} {by_bitstring / 1e3:8.0f} k elements/s")
    for name, run in (
        ("read", lambda: read(False)),
        ("read with trace", lambda: read(True)),
        ("write (NNPFC)", write),
    ):
        ours = rate(run, args.seconds)
        print(f"{name:<28} {ours / 1e3:8.0f} k elements/s  {ours / by_bitstring:5.2f} x bitstring")


def _nnpfc_values() -> Values:
    message = messages.form.complete(
        messages.NnpfCharacteristics,
        nnpf.nnpfc,
        {"nnpfc_mode_idc": 1, "nnpfc_tag_uri": "tag:onnx.ai,2017:onnx", "nnpfc_property_present_flag": 1},
        {},
    )
    reader = SyntaxReader(messages.encode(message, Codec.VVC).payload)
    nnpf.nnpfc(reader)
    return reader.values


if __name__ == "__main__":
    main()
