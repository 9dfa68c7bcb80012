"""`nnpf report`, from streams and from what other commands have written."""

import contextlib
import io
import json
import re
import shutil

import pytest

from nnpf_tools.main import main
from tests.report.example import write_stream
from tests.report.html_structure import check


@pytest.fixture(scope="module")
def place(samples, tmp_path_factory):
    """A stream with a filter, and what apply has written about it."""
    folder = tmp_path_factory.mktemp("report")
    stream = write_stream(samples, folder)
    original = str(samples / "bbb.mkv")
    with contextlib.redirect_stdout(io.StringIO()):
        options = ["--original", original, "-o", str(folder / "out.y4m"), "--report", str(folder / "apply.json"), "-q"]
        assert main(["apply", str(stream), *options]) == 0
    return folder


def page(folder, *arguments):
    path = folder / "report.html"
    assert main(["report", *map(str, arguments), "-o", str(path), "--force"]) == 0
    root = check(path.read_text("utf-8"))
    return root, json.loads(root.one("script", id="report-data").text)["chapters"]


def to_know(root):
    found = root.all("section", id="to-know")
    return " ".join(found[0].text.split()) if found else ""


def test_a_stream_and_its_original(place, samples, capsys):
    """eval runs, and the page has all parts."""
    root, (chapter,) = page(
        place, place / "clip.266", "--original", samples / "bbb.mkv", "--no-ssim", "--pictures", "4,20"
    )
    assert [v["output"] for v in chapter["views"]] == [4, 20]
    assert set(chapter["views"][0]["sources"]) == {"decoded", "filtered", "original"}
    # The filter changes nothing, but is in force for 17 pictures and then for 10.
    assert sum(bool(p["filters"]) for p in chapter["pictures"]) == 27
    assert all(p["before"] == p["after"] for p in chapter["pictures"])
    assert [h.text for h in root.all("h3")][:2] == ["Over the pictures", "Look at the pictures"]
    assert root.all("section", class_="messages")
    out, err = capsys.readouterr()
    assert out == "" and re.search(r"report\.html: \d\.\d MB, 2 pictures to look at", err)


def test_what_apply_has_written(place):
    root, (chapter,) = page(place, place / "apply.json", "--filtered", place / "out.y4m")
    assert len(chapter["views"]) == 3
    assert [p["clvs"] for p in chapter["pictures"]] == [0] * 65
    assert "unchanged" in root.text and not to_know(root)


def test_a_filtered_video_that_is_not_the_one_of_the_report(place, samples, tmp_path):
    """Pictures are held against the report by their PSNR."""
    tinted = tmp_path / "tinted.y4m"
    shutil.copy(samples / "filters/tint_red.onnx", tmp_path / "filter.onnx")
    stream = tmp_path / "t.266"
    assert (
        main(["inject", str(samples / "bbb_q37.266"), "--base", str(tmp_path / "filter.onnx"), "-o", str(stream), "-q"])
        == 0
    )
    assert main(["apply", str(stream), "-o", str(tinted), "-q"]) == 0
    right, _ = page(place, place / "apply.json", "--filtered", place / "out.y4m", "--pictures", "4")
    assert not to_know(right)
    wrong, _ = page(place, place / "apply.json", "--filtered", tinted, "--pictures", "4")
    assert re.search(
        r"picture 4, filtered, as shown has \w+ PSNR [\d.]+ dB, and [\d.]+ dB in the report", to_know(wrong)
    )


def test_what_is_missing_is_said(place, tmp_path, monkeypatch):
    """Only the JSON file was sent along: plots and tables are there, pictures and messages are not."""
    document = json.loads((place / "apply.json").read_text())
    document["summary"]["stream"] = "gone/clip.266"
    document["summary"]["output"] = None
    document["summary"]["inputs"]["original"]["path"] = "gone/bbb.mkv"
    (tmp_path / "apply.json").write_text(json.dumps(document))
    root, (chapter,) = page(tmp_path, tmp_path / "apply.json")
    assert not chapter["views"] and len(chapter["pictures"]) == 65
    notes = to_know(root)
    assert "gone/clip.266 (stream) is not there" in notes and "gone/bbb.mkv (original) is not there" in notes
    assert "no pictures to look at: neither the stream nor a filtered video is there" in notes
    # A stream of that name which is another one is not taken for it.
    (tmp_path / "clip.266").write_bytes((place / "clip.266").read_bytes() + b"\0")
    root, (chapter,) = page(tmp_path, tmp_path / "apply.json")
    assert "has changed since the report was made" in to_know(root) and not chapter["views"]


def test_a_filter_that_is_gone(place, tmp_path):
    """What apply wrote stands in for what cannot be filtered again."""
    for name in ("clip.266", "apply.json", "out.y4m"):
        shutil.copy(place / name, tmp_path / name)
    document = json.loads((tmp_path / "apply.json").read_text())
    document["summary"] |= {"stream": "clip.266", "output": "out.y4m"}
    (tmp_path / "apply.json").write_text(json.dumps(document))
    root, (chapter,) = page(tmp_path, tmp_path / "apply.json", "--pictures", "5")
    assert len(chapter["views"]) == 1
    assert re.search(r"the pictures are those of \S*out\.y4m: filtering again failed: .*filter\.onnx", to_know(root))


def test_the_same_input_gives_the_same_page(place, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    pages = []
    for _ in range(2):
        page(place, place / "apply.json", "--pictures", "none")
        pages.append((place / "report.html").read_bytes())
    assert pages[0] == pages[1] and b"2023-11-14 22:13 UTC" in pages[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["clip.266", "--pictures", "a"], 2, "--pictures a: give numbers"),
        (["clip.266", "--pictures", "gain:99"], 2, "at most 24"),
        (["clip.266", "--crop", "3"], 2, "--crop 3: give WxH"),
        (["-"], 2, "inputs are files"),
        (["gone.json"], 1, "gone.json: no such file"),
        (["clip.266", "clip2.266"], 2, "several streams need --original"),
        (["apply.json", "-o", "apply.json"], 1, "apply.json: is also the input"),
        (["out.y4m.json"], 1, "out.y4m.json: is no JSON"),
    ],
)
def test_errors(place, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(place)
    shutil.copy("clip.266", "clip2.266")
    (place / "out.y4m.json").write_text("YUV4MPEG2")
    output = [] if "-o" in arguments else ["-o", "new.html"]
    assert main(["report", *arguments, *output]) == code
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
    assert not (place / "new.html").exists()
