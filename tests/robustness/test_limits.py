"""A few bytes that claim gigabytes are refused before anything is taken; every limit can be changed, at one place."""

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnpf import limits
from nnpf.errors import NnpfError
from nnpf.frames import Format
from vsei import annexb, sei
from vsei import limits as of_streams
from vsei.errors import VseiError
from vsei.nal import Codec, NalHeader, Vvc

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples/bbb_q37.266"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test changes is changed back."""
    monkeypatch.setattr(limits, "_current", limits.current())
    monkeypatch.setattr(of_streams, "_current", of_streams.current())
    return


def test_every_limit_has_a_reason_and_a_name_of_its_own() -> None:
    entries = list(limits.listed())
    assert len({entry.name for entry in entries}) == len(entries) > 15
    assert all(entry.reason and entry.value > 0 for entry in entries)


def test_every_limit_is_looked_at_somewhere() -> None:
    """A limit that no code asks for protects nobody."""
    code = "".join(path.read_text("utf-8") for top in ("vsei", "nnpf", "tools") for path in (ROOT / top).rglob("*.py"))
    for entry in limits.listed():
        step = rf'(step|begin)\([^\n]*, "{entry.name}"\)'
        assert re.search(rf"(allowed|current\(\)\)?|_current)\.{entry.name}\b|{step}", code), entry.name


def test_a_limit_is_changed_by_name() -> None:
    limits.take(["picture_samples=100", "nesting_depth=2"], {})
    assert limits.current().picture_samples == 100
    assert of_streams.current().nesting_depth == 2
    with pytest.raises(NnpfError, match=r"picture of 16x16 samples, more than 100 \(--set-limit picture_samples=N\)"):
        Format(16, 16)


def test_the_option_goes_before_the_environment() -> None:
    limits.take(["model_bytes=5"], {limits.VARIABLE: "model_bytes=4, model_nodes=3"})
    assert (limits.current().model_bytes, limits.current().model_nodes) == (5, 3)


@pytest.mark.parametrize("text", ["nonsense=1", "model_bytes", "model_bytes=x", "model_bytes=-1", "model_bytes=0"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises((NnpfError, VseiError), match="limit"):
        limits.take([text], {})


def test_limits_of_nnc_bitstreams_reach_their_decoder() -> None:
    from nnpf.nnc.limits import DEFAULT_LIMITS

    assert limits.for_nnc() == DEFAULT_LIMITS
    limits.take([f"nnc_{name}=7" for name in ("elements", "elements_per_byte", "dimensions", "units")], {})
    changed = limits.for_nnc()
    assert (changed.elements, changed.elements_per_byte, changed.dimensions, changed.units) == (7, 7, 7, 7)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "nnpf_tools.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_limits_on_the_command_line() -> None:
    done = run("apply", str(SAMPLE), "--md5", "--set-limit", "picture_samples=1000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "picture of 416x240 samples, more than 1000 (--set-limit picture_samples=N)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run("dump", str(SAMPLE), "-q", NNPF_LIMITS="nal_unit_bytes=100").returncode == 1
    wrong = run("dump", str(SAMPLE), "--set-limit", "nothing=1")
    assert (wrong.returncode, wrong.stderr.splitlines()[0][:24]) == (2, "nnpf: no limit 'nothing'")


def test_an_sei_message_that_claims_gigabytes_takes_none() -> None:
    """payload_size is coded in bytes of 255: 4 kB of them claim a megabyte, and it is not there."""
    header = NalHeader(Codec.VVC, Vvc.PREFIX_SEI)
    tracemalloc.start()
    try:
        parsed = sei.parse(header, header.to_bytes() + b"\xd2" + b"\xff" * 4096 + b"\x00\x80")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert parsed.problem is not None
    assert parsed.problem.element == "payload"


def test_leading_bytes_without_a_start_code_are_not_collected_for_ever() -> None:
    limits.take(["leading_bytes=1000"], {})
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 100
            yield b"\x55" * 100

    with pytest.raises(VseiError, match="no start code in the first"):
        list(annexb.split(chunks()))
    assert taken < 2000


def test_a_filter_of_many_large_pictures_is_refused_before_they_are_decoded(tmp_path: Path) -> None:
    from nnpf.runner import ApplyOptions, apply
    from tests.nnpf.streams import activation, characteristics, with_messages

    units = with_messages(SAMPLE, [("first", characteristics(num_input_pics_minus1=63)), ("first", activation())])
    limits.take([f"input_bytes={10 << 20}"], {})
    with (
        pytest.raises(NnpfError, match=r"a filter of 64 input pictures needs 19169280 bytes, more than 10485760"),
        apply(units, Codec.VVC, ApplyOptions()) as pictures,
    ):
        next(pictures)


def test_a_network_that_takes_too_much_for_one_patch_is_refused() -> None:
    from tests.nnpf.onnx_graphs import blur_filter

    model = blur_filter(6, 6, 0)
    model.cost({"input": (1, 6, 100, 100)})
    limits.take(["patch_bytes=100000"], {})
    with pytest.raises(NnpfError, match=r"one run would take .*--set-limit patch_bytes=N"):
        model.cost({"input": (1, 6, 100, 100)})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold RLIMIT_DATA against mmap")
def test_a_command_that_takes_too_much_memory_fails_where_it_does(tmp_path: Path) -> None:
    """Not by the hand of the system. The network makes 2048 channels of a picture, 780 MiB, out of 7."""
    import numpy as np
    from onnx import helper

    from tests.nnpf.onnx_graphs import graph

    wide = graph(
        [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["a", "v"], ["y"])],
        {"x": ((None, 7, None, None), 1)},
        constants={"w": np.ones((2048, 7, 1, 1), np.float32), "v": np.full((6, 2048, 1, 1), 1e-5, np.float32)},
    )
    (tmp_path / "wide.onnx").write_bytes(wide.to_bytes())
    stream = str(tmp_path / "wide.266")
    assert run("inject", str(SAMPLE), "--base", str(tmp_path / "wide.onnx"), "-o", stream).returncode == 0
    command = (
        "apply",
        stream,
        "--md5",
        "-q",
        "--threads",
        "2",
        "--frames",
        "1",
        "--patch",
        "416x240",
        "--engine",
        "openvino",
    )
    done = run(*command, "--set-limit", f"process_bytes={700 << 20}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"nnpf: {stream}: NNPFC 1 at POC 0: {tmp_path}/wide.onnx: OpenVINO cannot run it on ")
    assert "allocate" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_is_read_no_further_than_allowed(tmp_path: Path) -> None:
    """Whatever it says of its size, and without memory for all that might be in it."""
    limits.take(["model_bytes=4000000000"], {})
    (tmp_path / "small").write_bytes(b"12345")
    tracemalloc.start()
    try:
        with (tmp_path / "small").open("rb") as file:
            assert limits.read(file, "model_bytes") == b"12345"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    limits.take(["model_bytes=3000000"], {})
    with Path("/dev/zero").open("rb") as file:
        assert len(limits.read(file, "model_bytes")) == 3_000_001


def test_the_docs_list_the_limits_that_there_are() -> None:
    """`python -m nnpf.limits` prints the table of docs/security.md."""
    done = subprocess.run([sys.executable, "-m", "nnpf.limits"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout in (ROOT / "docs/security.md").read_text("utf-8")
