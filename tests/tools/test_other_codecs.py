"""H.265 and H.264: the same commands, on streams that PyAV's encoders make."""

import json

import av
import pytest

from nnpf_tools.main import main
from tests.vsei.encoded import encode

PICTURES = 24


@pytest.fixture(scope="module", params=[("libx265", "265"), ("libx264", "264")], ids=["H.265", "H.264"])
def stream(request, tmp_path_factory):
    """A stream with B pictures and several random access points."""
    encoder, suffix = request.param
    path = tmp_path_factory.mktemp(suffix) / f"in.{suffix}"
    path.write_bytes(encode(encoder, "keyint=10:bframes=3"))
    return path


def applied(capsys, *args) -> dict:
    assert main(["apply", "--md5", "--json", *map(str, args)]) == 0
    return json.loads(capsys.readouterr().out)


def test_inject_dump_apply(stream, samples, tmp_path, capsys):
    injected = tmp_path / f"out{stream.suffix}"
    base = samples / "filters/tint_red.onnx"
    assert main(["inject", str(stream), "--base", str(base), "-o", str(injected), "-q"]) == 0
    assert main(["dump", str(injected), "--json"]) == 0
    messages = json.loads(capsys.readouterr().out)["messages"]
    assert {m["name"] for m in messages} == {"nnpfc", "nnpfa"}
    plain = applied(capsys, stream)
    filtered = applied(capsys, injected, "--model-root", base.parent)
    assert plain["summary"]["filters"] == {"none": PICTURES}
    assert filtered["summary"]["filters"] == {"1 tint_red.onnx": PICTURES}
    assert [p["poc"] for p in plain["pictures"]] == [p["poc"] for p in filtered["pictures"]]
    assert all(a["md5"] != b["md5"] for a, b in zip(plain["pictures"], filtered["pictures"], strict=True))


def test_the_strength_channel_sees_the_slice_qp(stream, samples, tmp_path, capsys):
    injected = tmp_path / f"out{stream.suffix}"
    base = samples / "filters/tint_red.onnx"
    assert main(["inject", str(stream), "--base", str(base), "-o", str(injected), "-q"]) == 0
    strengths = {
        p["applied"][0]["strength"] for p in applied(capsys, injected, "--model-root", base.parent)["pictures"]
    }
    # (SliceQpY + QpBdOffset) / (51 + QpBdOffset), 8 bit: multiples of 1 / 51
    assert all(abs(s * 51 - round(s * 51)) < 1e-6 and 0 < s < 1 for s in strengths)
    assert len(strengths) > 1


def test_pictures_are_those_that_ffmpeg_shows(stream, tmp_path):
    out = tmp_path / "out.yuv"
    assert main(["apply", str(stream), "-o", str(out), "-q"]) == 0
    with av.open(str(stream)) as container:
        frames = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
    assert out.read_bytes() == b"".join(frames)
