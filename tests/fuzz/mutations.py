"""Bytes changed at random, the same for the same seed: what a fuzzer does, without one."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = (b"\0\0\1", b"\0\0\0\1", b"\0\0\3", b"\xff" * 4, b"\0" * 8, b"\xff\xff\xff\x7f", b"\x80", b"\x7f")


def mutated(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A few changes: bits, bytes, cuts, repeats, insertions, and pieces of other inputs."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 2, 4, 16, 200)))
        change = rng.randrange(8)
        if change == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif change == 1 and at < len(out):
            out[at] = rng.randrange(256)
        elif change == 2:
            del out[at:end]
        elif change == 3:
            out[at:at] = rng.choice(INTERESTING)
        elif change == 4:
            out[at:at] = out[at:end] * rng.choice((1, 2, 8))
        elif change == 5 and others:
            other = rng.choice(others)
            begin = rng.randrange(len(other) + 1)
            out[at : at + rng.choice((0, 1, 50))] = other[begin : begin + rng.choice((1, 10, 300))]
        elif change == 6:
            out[at:end] = rng.randbytes(end - at)
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out[: 64 << 10])
