"""Real streams, damaged in every way that networks, disks and attackers know.

    python -m tests.robustness.damage                 each stream of ../shared, 200 times each way
    python -m tests.robustness.damage --times 20 FILE...

Each damaged stream is listed, and goes through a command; of each way, the first of APPLY_EVERY is decoded and
filtered too, in a process of its own. What must hold: a result, or one line that says what is wrong; every SEI message
in a NAL unit that is not damaged is shown; a NAL unit that cannot be read is named by its offset.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.robustness.commands import ROOT, SAMPLES, command
from vsei import sei
from vsei.annexb import NalUnit, split
from vsei.errors import VseiError
from vsei.listing import nal_units_of
from vsei.nal import Codec, is_sei, read_header

# Of each stream so much is taken: damage shows in the first pictures as in the last ones.
TAKEN_BYTES = 400_000
# Decoding takes some tens of times as long as listing.
APPLY_EVERY = 200
# Of the CPU; the clock says nothing on a busy machine, but for a process that waits for ever.
APPLY_SECONDS = 120
WAITED_SECONDS = 3600

Units = Sequence[NalUnit]


def joined(units: Units) -> bytes:
    return b"".join(unit.to_bytes() for unit in units)


def cut(rng: random.Random, units: Units, other: Units) -> bytes:
    data = joined(units)
    return data[: rng.randrange(1, len(data))]


def flip(rng: random.Random, units: Units, other: Units) -> bytes:
    data = bytearray(joined(units))
    for _ in range(rng.choice((1, 2, 8, 100))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_headers(rng: random.Random, units: Units, other: Units) -> bytes:
    """Where it matters most: in the first bytes of a NAL unit, mostly one that is no slice."""
    at = min(rng.randrange(len(units)), rng.randrange(len(units)), rng.randrange(len(units)))
    data = bytearray(units[at].data)
    for _ in range(rng.choice((1, 2, 5))):
        if data:
            data[rng.randrange(min(len(data), 40))] ^= 1 << rng.randrange(8)
    return joined([*units[:at], units[at]._replace(data=memoryview(bytes(data))), *units[at + 1 :]])


def drop(rng: random.Random, units: Units, other: Units) -> bytes:
    kept = list(units)
    for _ in range(rng.choice((1, 1, 3, 10))):
        if len(kept) > 1:
            del kept[rng.randrange(len(kept))]
    return joined(kept)


def duplicate(rng: random.Random, units: Units, other: Units) -> bytes:
    at = rng.randrange(len(units))
    return joined([*units[:at], *[units[at]] * rng.choice((2, 3, 20)), *units[at + 1 :]])


def swap(rng: random.Random, units: Units, other: Units) -> bytes:
    moved = list(units)
    for _ in range(rng.choice((1, 1, 5))):
        one, two = rng.randrange(len(moved)), rng.randrange(len(moved))
        moved[one], moved[two] = moved[two], moved[one]
    return joined(moved)


def splice(rng: random.Random, units: Units, other: Units) -> bytes:
    head, tail = joined(units), joined(other)
    return head[: rng.randrange(1, len(head))] + tail[rng.randrange(len(tail)) :]


def lie(rng: random.Random, units: Units, other: Units) -> bytes:
    """A message whose payload_size is not the size of its payload. Other NAL units where there is no message."""
    found = [n for n, unit in enumerate(units) if len(unit.data) > 4 and _is_sei(unit)]
    if not found:
        return flip_headers(rng, units, other)
    at = rng.choice(found)
    data = bytearray(units[at].data)
    codec = _codec_of_sei(units[at])
    place = (1 if codec is Codec.AVC else 2) + 1
    data[place] = rng.choice((0, 1, data[place] ^ 1, 254, 255))
    return joined([*units[:at], units[at]._replace(data=memoryview(bytes(data))), *units[at + 1 :]])


def _codec_of_sei(unit: NalUnit) -> Codec | None:
    for codec in Codec:
        with contextlib.suppress(VseiError):
            if is_sei(codec, read_header(codec, unit.data).nal_unit_type):
                return codec
    return None


def _is_sei(unit: NalUnit) -> bool:
    return _codec_of_sei(unit) is not None


WAYS: dict[str, Callable[[random.Random, Units, Units], bytes]] = {
    way.__name__: way for way in (cut, flip, flip_headers, drop, duplicate, swap, splice, lie)
}


def units_of(path: Path) -> list[NalUnit]:
    """The first NAL units of a stream, each with bytes of its own."""
    with path.open("rb") as file:
        data = file.read(TAKEN_BYTES)
    return [unit._replace(data=memoryview(bytes(unit.data))) for unit in split([data])]


def check_listing(units: Units, damaged: bytes, codec: Codec) -> None:
    """What is not damaged is shown, and what cannot be read is named by its offset."""
    listed = list(nal_units_of(split([damaged]), codec))
    assert [entry.nal_index for entry in listed] == list(range(len(listed)))
    shown = Counter(tuple(found.coded for found in entry.messages) for entry in listed if entry.messages)
    pieces = Counter(bytes(unit.data) for unit in split([damaged]))
    for unit in units:
        data = bytes(unit.data)
        with contextlib.suppress(VseiError):
            header = read_header(codec, data)
            if is_sei(codec, header.nal_unit_type) and pieces[data]:
                assert shown[sei.parse(header, data).messages] > 0 or not sei.parse(header, data).messages
    for entry in listed:
        assert damaged[entry.offset : entry.offset + 3] in (b"\0\0\1", b"\0\0\0"), entry.offset
        if entry.header is None:
            assert entry.problem is not None
        if entry.header is not None and is_sei(codec, entry.header.nal_unit_type) and not entry.messages:
            assert entry.problem is not None, entry.offset


COMMANDS = (
    ("dump", "IN", "--all"),
    ("dump", "IN", "--trace"),
    ("dump", "IN", "--json"),
    ("dump", "IN", "--summary"),
    ("validate", "IN"),
    ("strip", "IN", "--type", "all", "-o", "OUT", "--force"),
    ("inject", "IN", "--base", str(SAMPLES / "filters/tiny.onnx"), "-o", "OUT", "--force"),
)
_ERROR = re.compile(r"nnpf: (?!note:|warning:)")


def check_command(number: int, stream: Path, codec: Codec) -> int:
    """A command on a damaged stream, in this process: its exit code. One line of error where that is 1, else none."""
    from nnpf_tools.main import main

    names = {"IN": str(stream), "OUT": str(stream.with_suffix(".out"))}
    arguments = [names.get(word, word) for word in COMMANDS[number % len(COMMANDS)]]
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([*arguments, "--codec", codec.value])
    check_outcome(code, errors.getvalue(), stream)
    return code


def check_outcome(code: int, errors: str, stream: Path) -> None:
    lines = [line for line in errors.splitlines() if _ERROR.match(line)]
    assert code in (0, 1, 3), (code, errors)
    assert len(lines) == (code == 1), (code, errors)
    assert "Traceback" not in errors
    assert "ended the process" not in errors and "killed" not in errors, errors  # a decoder that crashes, or hangs
    if lines:
        assert lines[0].startswith(f"nnpf: {stream}: "), lines
        assert len(lines[0]) < 1000


def check_apply(stream: Path, codec: Codec) -> int:
    arguments = ["apply", str(stream), "-o", "/dev/null", "-q", "--threads", "1", "--codec", codec.value]
    done = subprocess.run(
        command([*arguments, "--skip-failures"]),
        capture_output=True,
        text=True,
        timeout=WAITED_SECONDS,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (APPLY_SECONDS, APPLY_SECONDS)),
    )
    check_outcome(done.returncode, done.stderr, stream)
    return done.returncode


def run(
    path: Path, others: Sequence[Path], times: int, seed: int = 1, *, apply_every: int = APPLY_EVERY
) -> Counter[str]:
    """Damage a stream `times` times each way. Returns how often commands ended with which exit code.

    Args:
        others: streams to splice it with; of one codec with it.
        apply_every: how seldom pictures are decoded and filtered too; 0: never.
    """
    ended: Counter[str] = Counter()
    codec, rng = codec_of(path), random.Random(f"{seed} {path.name}")
    units, tails = units_of(path), [units_of(other) for other in others]
    with tempfile.TemporaryDirectory() as folder:
        for name, way in WAYS.items():
            for number in range(times):
                damaged = way(rng, units, rng.choice(tails))
                stream = Path(folder) / f"{path.stem}-{name}-{number}{path.suffix}"
                stream.write_bytes(damaged)
                try:
                    if split_works(damaged):
                        check_listing(units, damaged, codec)
                    ended[f"exit code {check_command(rng.randrange(1000), stream, codec)}"] += 1
                    if apply_every and number % apply_every == 0:
                        ended[f"apply: exit code {check_apply(stream, codec)}"] += 1
                except (Exception, SystemExit) as error:
                    kept = Path(tempfile.gettempdir()) / stream.name
                    kept.write_bytes(damaged)
                    raise AssertionError(f"{kept}: {error!r}") from error
                stream.unlink()
    return ended


def split_works(data: bytes) -> bool:
    try:
        return bool(list(split([data])))
    except VseiError:
        return False


def codec_of(path: Path) -> Codec:
    return {".265": Codec.HEVC, ".264": Codec.AVC}.get(path.suffix, Codec.VVC)


def reference_streams() -> list[Path]:
    shared = ROOT.parent / "shared"
    found = [
        *shared.glob("conformance/*.bit"),
        *shared.glob("vectors/vtm/*.266"),
        *shared.glob("vectors/streams/*.266"),
    ]
    return sorted(found)


def _cpu_seconds() -> float:
    """Of this process and of those that decoded."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="*", type=Path)
    parser.add_argument("--times", type=int, default=200, help="each way (default 200)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    streams = args.streams or reference_streams() or [SAMPLES / "bbb_q37.266"]
    rng = random.Random(args.seed)
    total: Counter[str] = Counter()
    broken = 0
    started = _cpu_seconds()
    for path in streams:
        try:
            ended = run(path, rng.sample(streams, min(5, len(streams))), args.times, args.seed)
        except AssertionError as error:
            broken += 1
            print(f"{path.name}: {error}", flush=True)
            continue
        total += ended
        print(f"{path.name}: {', '.join(f'{n} {what}' for what, n in sorted(ended.items()))}", flush=True)
    print(
        f"{len(streams)} streams, {len(WAYS)} ways, {args.times} times each, {_cpu_seconds() - started:.0f} s of "
        f"the CPU: {', '.join(f'{n} {what}' for what, n in sorted(total.items()))}; {broken} streams with findings"
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
