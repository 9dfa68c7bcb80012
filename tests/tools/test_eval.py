"""`nnpf eval`: tables, files and exit codes."""

import csv
import io
import json
import re

import pytest

from nnpf_tools.main import main
from nnpf_tools.tables import Table
from tests.nnpf.onnx_graphs import identity_filter
from tests.nnpf.streams import activation, characteristics, save, with_messages


def write_filtered(source, target, **elements):
    """The stream with a filter that changes nothing, filter.onnx beside it."""
    save(target.parent, identity_filter(6, 6, 1))
    placed = [("random_access", characteristics(overlap=1, **elements)), ("segments", activation())]
    units = with_messages(source, placed)
    target.write_bytes(b"".join(u.prefix + bytes(u.data) + bytes(u.zeros) for u in units))


@pytest.fixture(scope="module")
def stream(samples, tmp_path_factory):
    target = tmp_path_factory.mktemp("eval") / "clip_q37.266"
    write_filtered(samples / "bbb_q37.266", target)
    return target


@pytest.fixture(scope="module")
def original(samples):
    return str(samples / "bbb.mkv")


@pytest.fixture(scope="module")
def rate_points(shared, tmp_path_factory):
    """Five streams of one clip with a filter that changes nothing."""
    folder = tmp_path_factory.mktemp("points")
    for qp in (22, 27, 32, 37, 42):
        write_filtered(shared / f"clips/kimono_q{qp}.266", folder / f"kimono_q{qp}.266")
    return sorted(map(str, folder.glob("*.266")))


def test_five_rate_points(rate_points, shared, tmp_path, capsys):
    """A filter that changes nothing costs its messages: BD-rate is their mean share, BD-PSNR is below 0."""
    files = {kind: tmp_path / f"gain.{kind}" for kind in ("csv", "md", "png")}
    arguments = ["eval", "--original", str(shared / "clips/kimono.mkv"), *rate_points, "--fps", "24", "--json"]
    options = [
        "--no-ssim",
        "--csv",
        files["csv"],
        "--markdown",
        files["md"],
        "--plot",
        files["png"],
        "--min-gain",
        "-9",
    ]
    assert main([*arguments, *map(str, options)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in document["points"]] == ["22", "27", "32", "37", "42"]
    shares = []
    for point in document["points"]:
        plain = (shared / "clips" / point["stream"].rpartition("/")[2]).stat().st_size
        assert point["bytes"] - point["message_bytes"] == plain
        assert point["rate_anchor"] == pytest.approx(plain * 8 / 1000 * 24 / 33)
        assert point["decoded"] == point["filtered"]
        shares.append(point["rate_test"] / point["rate_anchor"] - 1)
    luma = {tuple(bd["points"]): bd for bd in document["bd"] if bd["measure"] == "Y"}
    assert list(luma) == [("22", "27", "32", "37"), ("27", "32", "37", "42"), ("22", "27", "32", "37", "42")]
    for (*_, low), delta in luma.items():
        assert 100 * shares[0] < delta["rate_percent"] < 100 * shares[("22", "27", "32", "37", "42").index(low)]
        assert delta["quality"] < 0
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    assert len(rows) == 5 * 33
    of_37 = [float(row["filtered_psnr_y"]) for row in rows if row["point"] == "37"]
    assert sum(of_37) / 33 == pytest.approx(document["points"][3]["filtered"]["psnr"][0], abs=1e-5)
    assert "| 27 to 42 | rate, % | +" in files["md"].read_text()
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_a_threshold_that_is_not_reached_is_exit_code_3(stream, original, capsys):
    assert main(["eval", "--original", original, str(stream), "--no-ssim", "--min-gain", "1"]) == 3
    out, err = capsys.readouterr()
    assert "not computed: 1 rate points; 4 are needed" in out
    assert err == "nnpf: --min-gain 1: no BD-rate of clip_q37: 1 rate points; 4 are needed\n"


def test_a_false_claim_of_complexity_is_exit_code_3(samples, original, tmp_path, capsys):
    target = tmp_path / "false.266"
    write_filtered(
        samples / "bbb_q37.266",
        target,
        complexity_info_present_flag=1,
        parameter_type_idc=1,
        log2_parameter_bit_length_minus3=2,
        total_kilobyte_size=1,
    )
    assert main(["eval", "--original", original, str(target), "--no-ssim"]) == 3
    out, err = capsys.readouterr()
    assert "complexity elements checked: 1 hold, 1 do not" in out
    assert err == "nnpf: 1 filter.onnx: nnpfc_total_kilobyte_size 1 allows 1000, the model takes 1320\n"


def test_pictures_agree_with_those_of_apply(stream, original, capsys):
    assert main(["eval", "--original", original, str(stream), "--pictures"]) == 0
    text = capsys.readouterr().out
    rows = re.findall(r"^(\d+) +(\d+) +([\d.]+) +([-+][\d.]+)", text.partition("clip_q37: pictures")[2], re.MULTILINE)
    assert main(["apply", str(stream), "--original", original, "-q"]) == 0
    applied = re.findall(
        r"^ +(\d+) +(\d+)  1 filter.onnx +([\d.]+) +[\d.]+ +([-+][\d.]+)", capsys.readouterr().out, re.M
    )
    assert len(rows) == 65
    assert rows == applied
    # MS-SSIM of luma is there, and what is not is said.
    assert re.search(r"^point +SSIM Y +gain .* MS-SSIM Y +gain$", text, re.MULTILINE)
    assert "MS-SSIM Cb, MS-SSIM Cr: no figure" in text


def test_a_stream_from_a_pipe(stream, original, capsys, monkeypatch):
    class Pipe:
        buffer = io.BytesIO(stream.read_bytes())

    monkeypatch.setattr("sys.stdin", Pipe)
    arguments = ["eval", "--original", original, "--no-ssim", "--json", "--model-root", str(stream.parent)]
    assert main([*arguments, "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["points"][0]["bytes"] == stream.stat().st_size


def test_two_videos(original, samples, tmp_path, capsys):
    decoded = tmp_path / "decoded.y4m"
    assert main(["apply", str(samples / "bbb_q37.266"), "-o", str(decoded), "-q"]) == 0
    raw = tmp_path / "decoded.yuv"
    assert main(["apply", str(samples / "bbb_q37.266"), "-o", str(raw), "-q"]) == 0
    for video, options in ((decoded, []), (raw, ["--depth", "10"])):
        assert main(["eval", "--original", original, str(video), "--no-ssim", "--json", *options]) == 0
        point = json.loads(capsys.readouterr().out)["points"][0]
        assert (point["bytes"], point["decoded"], len(point["pictures"])) == (None, None, 65)
        assert point["filtered"]["psnr"][0] == pytest.approx(30.87, abs=0.01)
        assert any("bit depths: original 8, decoded 10" in note for note in point["notes"])
    assert main(["eval", "--original", str(decoded), str(decoded), "--no-ssim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"][0]["filtered"]["psnr"] == [None] * 3  # infinite
    plot = tmp_path / "none.png"
    assert main(["eval", "--original", original, str(decoded), "--no-ssim", "--plot", str(plot)]) == 1
    assert "nothing to draw" in capsys.readouterr().err
    assert not plot.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", "0"], "give pictures per second"),
        (["--messages-every", "10"], "needs --fps"),
        (["--messages-every", "-1", "--fps", "24"], "give seconds"),
        (["--plot", "gain.bmp"], "ends in .png"),
        (["--json", "--csv", "-"], "only one of"),
        (["--labels", "a,b"], "2 names for 1 streams"),
        (["--patch", "big"], "give WxH"),
    ],
)
def test_wrong_usage_is_exit_code_2(stream, original, capsys, options, message):
    assert main(["eval", "--original", original, str(stream), *options]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_overwritten(stream, original, tmp_path, capsys):
    there = tmp_path / "there.csv"
    there.write_text("mine")
    assert main(["eval", "--original", original, str(stream), "--csv", str(there)]) == 1
    assert "exists; --force replaces it" in capsys.readouterr().err
    assert there.read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"\0\0\1", b"\0\0\0\1\x00\x79" + bytes(40), b"no stream at all"])
def test_broken_streams_are_one_line(content, original, tmp_path, capsys):
    path = tmp_path / "broken.266"
    path.write_bytes(content)
    assert main(["eval", "--original", original, str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"nnpf: {path}: ")
    assert error.count("\n") == 1


def test_an_original_at_fault_is_named(stream, tmp_path, capsys):
    original = tmp_path / "original.yuv"
    original.write_bytes(bytes(1000))
    assert main(["eval", "--original", str(original), str(stream)]) == 1
    assert capsys.readouterr().err.startswith(f"nnpf: {stream}: {original}: ends inside picture 0")
    assert main(["eval", "--original", str(tmp_path / "none.mkv"), str(stream)]) == 1
    assert str(tmp_path / "none.mkv") in capsys.readouterr().err


def test_names_of_points_are_what_differs():
    from argparse import Namespace

    from nnpf_tools.eval import _labels

    def labels(*streams):
        return _labels(Namespace(labels=None, streams=streams))

    assert labels("a/bbb_q22.266", "a/bbb_q27.266") == ["22", "27"]
    assert labels("bbb_q22_small.266", "bbb_q122_small.266") == ["22", "122"]
    assert labels("clip.266", "clip_filtered.266") == ["clip", "clip_filtered"]
    assert labels("bbb_q37.266", "base.266") == ["bbb_q37", "base"]
    assert labels("bbb_small.266", "bbb_smooth.266") == ["small", "smooth"]
    assert labels("one.266") == ["one"]


def test_markdown_is_not_broken_by_names():
    table = Table("t", ["a", "b"], [["x|<script>", "1"]], ["n\nm"])
    assert table.markdown() == "### t\n\n| a | b |\n| --- | ---: |\n| x\\|&lt;script> | 1 |\n\n- n m\n"
