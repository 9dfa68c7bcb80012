"""Real streams, broken: what a fuzzer would do to parameter sets and headers."""

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st

from vsei.annexb import NalUnit

# A hang shows as an example that takes longer, also on a machine that does much else.
SOON = settings(deadline=timedelta(seconds=20), max_examples=300)


@st.composite
def mutated(draw: st.DrawFn, streams: list[list[NalUnit]]) -> list[NalUnit]:
    """A stream of which one NAL unit or a few are changed by some bits, bytes, cuts and insertions."""
    stream = [unit._replace(data=memoryview(bytes(unit.data[:400]))) for unit in draw(st.sampled_from(streams))]
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(stream) - 1))
        data = bytearray(stream[number].data)
        at = draw(st.integers(0, min(60, max(0, len(data) - 1))))
        change = draw(st.sampled_from(("bit", "byte", "zeros", "cut", "insert")))
        if change == "bit" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif change == "zeros":
            data[at : at + 4] = bytes(4)  # long Exp-Golomb codes: large numbers
        elif change == "cut":
            del data[at:]
        else:
            data[at:at] = draw(st.binary(max_size=8))
        stream[number] = stream[number]._replace(data=memoryview(bytes(data)))
    return stream
