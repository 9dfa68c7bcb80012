"""The page, as text: what stands in it, and what must never stand in it."""

import base64
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpf.errors import NnpfError
from nnpf.frames import Format
from nnpf.report import charts, views
from nnpf.report.charts import Scale, number, ticks
from nnpf.report.documents import PictureResult, Quality, parse
from nnpf.report.markup import element, json_script
from nnpf.report.model import Chapter, FileNote, Report
from nnpf.report.page import render
from nnpf.report.stream import Lane, Mark, MessageRow, Span, StreamFacts, StreamPicture, read_stream
from nnpf.report.views import Window
from tests.nnpf.streams import nal_units
from tests.report.example import HOSTILE, eval_document, taken, write_stream
from tests.report.html_structure import check, read
from vsei.colour import Colour
from vsei.nal import Codec

FORM = Format(32, 16, 1, 10, 10)


def report(*, points: int = 1, name: str = "clip", **chapter: object) -> Report:
    document = parse(eval_document(points=points, name=name), Path())
    chapters = [Chapter(run=run, **chapter) for run in document.runs]  # type: ignore[arg-type]
    return Report(
        title=name,
        chapters=chapters,
        rate_unit=document.rate_unit,
        deltas=document.deltas,
        bd_problem=document.bd_problem,
        findings=document.findings,
        environments={f"nnpf eval {name}": document.environment},
        command=f"nnpf report {name}",
        made="2026-01-01 00:00 UTC",
        version="0.1.0",
    )


def some_views(window: Window | None = None, form: Format = FORM) -> list[views.View]:
    pictures = [taken(i, form, form, Format(form.width, form.height)) for i in range(3)]
    return views.take(pictures, {0: "smallest luma gain", 2: "largest luma gain"}, window)[0]


# --- whole pages -----------------------------------------------------------------------------------------------------


def test_one_stream():
    root = check(render(report(views=some_views())))
    text = " ".join(root.one("main").text.split())
    assert "PSNR of the filtered against the decoded pictures, mean of 7: luma +0.010 dB" in text
    assert "Luma gets worse in 2 of 7 pictures" in text
    assert "7.85" in text and "0 of 1 hold" in text and "allows 1000, the model takes 1320" in text
    gain = next(e for e in root.all("svg", role="img") if (e.attributes["aria-label"] or "").startswith("Y PSNR gain"))
    assert "from \u22120.020 to +0.040 dB, mean +0.010 dB; 2 of 7 pictures get worse" in (
        gain.attributes["aria-label"] or ""
    )
    assert len(root.all("img")) == 6
    data = json.loads(root.one("script", id="report-data").text)
    assert [p["after"][0] for p in data["chapters"][0]["pictures"]][:2] == [29.98, 30.09]
    assert [v["output"] for v in data["chapters"][0]["views"]] == [0, 2]


def test_several_streams():
    root = check(render(report(points=5)))
    text = " ".join(root.one("main").text.split())
    assert "5 streams, 7 pictures each. Luma BD-rate" in text
    assert "\u22123.25 % over clip0 to clip4" in text
    assert len(root.all("svg", class_="rate")) == 4
    assert len(root.all("section", class_="chapter")) == 5
    assert "no BD-rate" not in text


def test_what_is_lower_with_the_filter_is_said_first():
    document = eval_document(gain=-0.2)
    run = parse(document, Path()).runs[0]
    root = check(render(Report(title="x", chapters=[Chapter(run=run)])))
    notes = root.one("section", id="to-know").text
    assert "mean PSNR of Y is lower with the filter: \u22120.020 dB" in notes
    assert len(root.all("li", class_="bad")) == 3


def test_hostile_names_stay_text():
    """Names come from streams, files and reports. None may become an element, a handler or the end of a script."""
    row = MessageRow(1, 2, HOSTILE, 3, 0, 0, 0, HOSTILE, ((HOSTILE, HOSTILE, HOSTILE),), (HOSTILE,))
    lane = Lane(1, HOSTILE, (Span(0, 6, 0),), (Mark(0, "base", HOSTILE),), 0)
    pictures = tuple(StreamPicture(i, i, 0, False, HOSTILE, 30, (HOSTILE,)) for i in range(7))
    facts = StreamFacts(
        HOSTILE, 1000, 9, 7, 1, 1, {HOSTILE: 7}, Colour(), 100, {HOSTILE: (1, 1)}, (row,), 0, (lane,), 0, pictures
    )
    files = [FileNote(HOSTILE, HOSTILE, 1, HOSTILE, "unchanged")]
    for points in (1, 4):
        page = render(report(points=points, name=HOSTILE, facts=facts, files=files, missing=[HOSTILE]))
        root = check(page)
        assert "<script>alert" not in page and "onerror=alert(2)>" not in page and "\x00" not in page
        assert len(root.all("script")) == 2 and not root.all("img")
        data = json.loads(root.one("script", id="report-data").text)
        assert data["chapters"][0]["label"] == HOSTILE + "0"
        # What was escaped is there, as text.
        assert '</script><script>alert(1)</script><img src=x onerror=alert(2)>"' in root.one("main").text


@given(st.text(), st.text())
def test_any_text_stays_text(inside, attribute):
    root = read(str(element("p", inside, title=attribute)))
    (paragraph,) = root.children
    assert not paragraph.children and set(paragraph.attributes) == {"title"}
    script = read(str(json_script("data", {"text": inside}))).one("script")
    assert json.loads(script.text) == {"text": inside}


def test_a_stream_that_says_everything_itself(samples, tmp_path):
    path = write_stream(samples, tmp_path)
    facts = read_stream(lambda: nal_units(path), Codec.VVC)
    assert (facts.codec, facts.bytes, facts.coded_pictures) == ("H.266", path.stat().st_size, 65)
    assert facts.message_bytes == path.stat().st_size - (samples / "bbb_q37.266").stat().st_size
    (lane,) = facts.lanes
    # The picture that comes first in decoding order is output as picture 31.
    assert lane.spans == (Span(3, 19, 0), Span(31, 40, 0))
    assert [(m.output_index, m.kind) for m in lane.marks] == [
        (3, "activation"),
        (20, "cancel"),
        (31, "base"),
        (31, "activation"),
        (40, "activation"),
        (63, "base"),
    ]
    assert lane.unseen == 0 and lane.purpose == "visual quality improvement"
    assert {row.name for row in facts.messages} == {"nnpfc", "nnpfa"}
    assert ("nnpfc_uri", "filter.onnx", "") in facts.messages[0].elements


def test_updates_are_numbered(shared):
    path = shared / "vectors/vtm/sp05_updates_mid_clvs.266"
    facts = read_stream(lambda: nal_units(path), Codec.VVC)
    spans = [span for lane in facts.lanes for span in lane.spans]
    assert {span.update for span in spans} >= {0, 1, 2}
    assert any(mark.kind == "update" for lane in facts.lanes for mark in lane.marks)
    assert facts.clvss > 1


# --- pictures --------------------------------------------------------------------------------------------------------


def result(index: int, gain: float | None) -> PictureResult:
    after = None if gain is None else Quality((30.0 + gain,))
    return PictureResult(index, index, before=Quality((30.0,)), after=after)


def test_pictures_are_chosen_by_their_gain():
    gains = [0.3, -0.1, 0.2, 0.5, 0.1]
    pictures = [result(i, gain) for i, gain in enumerate(gains)]
    assert views.choose(pictures) == {1: "smallest luma gain", 2: "median luma gain", 3: "largest luma gain"}
    assert views.choose(pictures, 1) == {2: "median luma gain"}
    assert list(views.choose(pictures, 9)) == [0, 1, 2, 3, 4]
    unknown = [result(i, None) for i in range(60)]
    assert list(views.choose(unknown)) == [10, 30, 50]
    assert views.choose([], 3) == views.choose(pictures, 0) == {}


@pytest.mark.parametrize(
    ("form", "window"),
    [
        (Format(32, 16, 1, 10, 10), None),
        (Format(32, 16, 1, 8, 8), Window(5, 3, 12, 7)),
        (Format(33, 17, 1, 10, 10), None),
        (Format(30, 20, 2, 12, 12), Window(8, 4, 10, 10)),
        (Format(30, 20, 3, 16, 16), Window(1, 1, 7, 7)),
        (Format(30, 20, 0, 10, 10), Window(29, 19, 1, 1)),
        (Format(31, 21, 1, 10, 8), Window(7, 5, 24, 16)),
    ],
)
def test_every_sample_is_there(form, window):
    image = pytest.importorskip("PIL.Image")
    picture = taken(0, form, form, form)
    ((view,), _) = views.take([picture], {0: "x"}, window)
    for source, frame in (("decoded", picture.decoded), ("filtered", picture.filtered), ("original", picture.original)):
        assert frame is not None
        planes = view.sources[source]
        part = planes.window
        sheet = np.asarray(image.open(io.BytesIO(planes.png)))
        assert sheet.dtype == (np.uint8 if max(form.bit_depths) == 8 else np.uint16)
        row = 0
        for at, (plane, depth) in enumerate(zip(frame.planes, form.bit_depths, strict=True)):
            sub_x, sub_y = (form.SubWidthC, form.SubHeightC) if at else (1, 1)
            wanted = plane[
                part.top // sub_y : -(-(part.top + part.height) // sub_y),
                part.left // sub_x : -(-(part.left + part.width) // sub_x),
            ]
            found = sheet[row : row + wanted.shape[0], : wanted.shape[1]] >> (8 * sheet.itemsize - depth)
            assert (found == wanted).all()
            row += wanted.shape[0]
        assert row == sheet.shape[0]


def test_windows_of_pictures_of_different_sizes_show_the_same():
    small, large = Format(60, 40, 1), Format(120, 80, 1)
    ((view,), _) = views.take([taken(0, small, large, large)], {0: "x"}, Window(33, 17, 41, 30))
    assert view.sources["filtered"].window == Window(32, 16, 40, 28)
    assert view.sources["decoded"].window == Window(16, 8, 20, 14)
    assert set(view.psnr) == {"filtered"}


def test_large_pictures_are_cut_where_the_filter_changes_most():
    form = Format(1920, 1080)
    picture = taken(0, form, form, None)
    assert picture.decoded is not None
    picture.filtered.planes[0][:] = picture.decoded.planes[0]
    picture.filtered.planes[0][900:, 1700:] += 3
    _, window = views.take([picture], {0: "x"}, None)
    assert window is not None and window.width * window.height < 1.1 * views.WINDOW_SAMPLES
    assert window.left + window.width > 1700 and window.top + window.height > 900


def test_each_size_of_a_stream_has_a_window_of_its_own():
    """Reference picture resampling: what fits the first picture may be outside of the next one."""
    large, small = Format(1920, 1080), Format(64, 48)
    found, window = views.take([taken(0, large, large, None), taken(1, small, small, None)], {0: "x", 1: "y"}, None)
    assert [v.sources["filtered"].window.width for v in found] == [848, 64]
    assert window is not None and window.width == 848
    page = render(report(views=found, window=window))
    assert "Cut to 848\u00d7480 at" in page and "of 64\u00d748" not in page


def test_a_window_outside_is_refused():
    with pytest.raises(NnpfError, match="is not inside the picture of 32x16"):
        views.take([taken(0, FORM, FORM, None)], {0: "x"}, Window(0, 0, 33, 16))


def test_no_picture_is_read_after_the_last_one_that_is_wanted():
    def pictures():
        yield taken(0, FORM, FORM, None)
        yield taken(1, FORM, FORM, None)
        raise AssertionError

    assert len(views.take(pictures(), {1: "x"}, None)[0]) == 1


# --- drawings --------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_round_and_few(low, span, most):
    found = ticks(low, low + span, most)
    near = 1e-6 * span + 2 * math.ulp(max(abs(low), abs(low + span)))
    assert all(low - near <= t <= low + span + near for t in found)
    assert len(found) <= most + 1


def test_numbers_read_as_people_write_them():
    assert number(-0.0101, 3, signed=True) == "\u22120.010"
    assert number(0.04, 2, signed=True) == "+0.04"
    assert number(-0.0001, 2, signed=True) == "0.00"
    assert number(31526, 0) == "31\u202f526"
    assert number(math.inf, 2) == "\u221e"


def test_long_streams_keep_their_peaks():
    """A page does not grow with each picture, and the one picture that fails is still seen."""
    values: list[float | None] = [0.1] * 50_000
    values[31_234] = -3.0
    scale = Scale.around([values], zero=True)
    bars = read(str(charts.bars(values, scale)))
    assert len(str(charts.bars(values, scale))) < 60_000
    down = bars.one("path", class_="bar down").attributes["d"] or ""
    assert down.count("z") == 1
    assert abs(float(down[1:].split()[0]) - 31_234) < 63
    line = str(charts.lines([charts.Line("after", values)], scale))
    lowest = f"{scale.place(-3.0) * 1000:.1f}"
    assert f" {lowest}" in line and len(line) < 60_000


def test_gaps_stay_gaps():
    path = read(str(charts.lines([charts.Line("after", [1, 2, None, math.inf, 3, 4, None, 5])], Scale(0, 6))))
    d = path.one("path").attributes["d"] or ""
    assert d.count("M") == 3 and d.endswith("h1")


def test_data_urls_are_what_the_browser_reads():
    root = check(render(report(views=some_views())))
    source = root.all("img")[0].attributes["src"] or ""
    assert base64.b64decode(source.partition(",")[2]).startswith(b"\x89PNG")
