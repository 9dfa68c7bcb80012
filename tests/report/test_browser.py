"""The page in a browser: it runs without a word on the console, and shows the samples as they are."""

import numpy as np
import pytest

from nnpf.frames import Format, Frame
from nnpf.report import views
from nnpf.report.page import render
from tests.browser import chromium
from tests.report.example import HOSTILE, taken
from tests.report.test_page import report, some_views

# Starting a browser and opening a page for each test takes a while where other programs run.
pytestmark = pytest.mark.slow

FORM = Format(48, 32, 1, 10, 10)
# The colour of a place of the first canvas, in device pixels. (Read through a canvas of one pixel: the browser warns
# when the large one is read again and again.)
PIXEL = """
const one = document.createElement('canvas'); [one.width, one.height] = [1, 1];
const context = one.getContext('2d', { willReadFrequently: true });
context.drawImage(document.querySelector('canvas'), -arguments[0], -arguments[1]);
return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
"""
# Where the first canvas is.
BOX = """
document.querySelector('.panes').scrollIntoView();
const box = document.querySelector('canvas').getBoundingClientRect();
return [box.x, box.y, box.width, box.height];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        found.size(1200, 900)
        yield found


@pytest.fixture
def show(browser, tmp_path):
    def opened(page_report):
        path = tmp_path / "report.html"
        path.write_text(render(page_report), "utf-8")
        browser.errors()
        browser.open(path)
        browser.wait("document.querySelector('.viewer') === null || document.querySelector('[data-shown]')")
        return browser

    yield opened
    assert browser.errors() == []


def flat(value, depth=10):
    """A picture with one value in all samples of a component."""
    form = Format(48, 32, 1, depth, depth)
    dtype = np.uint8 if depth == 8 else np.uint16
    return Frame(tuple(np.full(s, v, dtype) for s, v in zip(form.shapes, value, strict=True)), form)


def flat_views():
    """Decoded two steps above the original (which has 8 bits), filtered one step above it."""
    frames = (
        views.Taken(0, 0, flat((402, 512, 512)), flat((401, 512, 512)), flat((100, 128, 128), 8)),
        views.Taken(3, 3, flat((940, 512, 512)), flat((64, 512, 512)), None),
    )
    return views.take(frames, {0: "x", 3: "y"}, None)[0]


def choose(browser, control, value):
    browser.run(
        "const c = document.querySelector(`[data-control=${arguments[0]}]`); c.value = arguments[1];"
        "c.dispatchEvent(new Event('input')); c.dispatchEvent(new Event('change'));"
        "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())));",
        control,
        value,
    )


def pixel(browser, x, y):
    return browser.run(PIXEL, x, y)


def text(browser, selector):
    return browser.run("return document.querySelector(arguments[0]).textContent", selector)


def test_it_loads_nothing_and_says_nothing(show):
    browser = show(report(views=some_views()))
    loaded = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert browser.run("return document.documentElement.className") == "js"


def test_nothing_can_be_sent(show):
    """The policy holds even for a script that had come in."""
    browser = show(report())
    found = browser.run(
        "return fetch('http://127.0.0.1:9/').then(() => 'sent', (e) => e.name)"
        ".then((r) => { const s = document.createElement('script'); s.textContent = 'window.got = 1';"
        " document.body.append(s); return [r, window.got === undefined]; })"
    )
    assert found == ["TypeError", True]
    assert len(browser.errors()) >= 2  # the browser says what it has refused


def test_hostile_names_run_nothing(show):
    browser = show(report(points=4, name=HOSTILE, missing=[HOSTILE], views=some_views()))
    browser.run("document.querySelector('.values').open = true")
    browser.wait("document.querySelector('.values-table td')")
    assert browser.run("return document.querySelectorAll('main script, [onerror]').length") == 0
    assert HOSTILE[:40] in text(browser, ".tabs button")


def test_colours_are_those_of_bt_709(show):
    """Luma 940 of 10 bits is white, 64 is black; the divider stands between them."""
    browser = show(report(views=flat_views()))
    choose(browser, "view", "1")
    browser.wait("document.querySelector('.viewer').dataset.shown === '1'")
    choose(browser, "divider", "500")
    width = browser.run("return document.querySelector('canvas').width")
    middle = browser.run("return document.querySelector('canvas').height") // 4
    assert pixel(browser, width // 2 - 40, middle) == [255, 255, 255]
    assert pixel(browser, width // 2 + 40, middle) == [0, 0, 0]
    choose(browser, "divider", "1000")
    assert pixel(browser, width // 2 + 40, middle) == [255, 255, 255]


def test_differences_are_exact_and_amplified(show):
    """One step of 10 bits is a quarter of a step of 8, and 64 times that are 16."""
    browser = show(report(views=flat_views()))
    middle = [browser.run(f"return document.querySelector('canvas').{side}") // 2 for side in ("width", "height")]
    place = middle[0] - 60, middle[1] // 2
    choose(browser, "layout", "one")
    choose(browser, "amplify", "6")
    for kind, expected in (("change", 128 - 16), ("before", 128 + 32), ("after", 128 + 16)):
        choose(browser, "left", kind)
        assert pixel(browser, *place) == [expected] * 3
    choose(browser, "left", "better")
    red, _, blue = pixel(browser, *place)
    assert blue > red  # nearer to the original
    choose(browser, "amplify", "0")
    assert text(browser, ".controls [data-control=amplify] + output") == "\u00d71"


def test_samples_at_the_pointer(show):
    browser = show(report(views=flat_views()))
    box = browser.run(BOX)
    place = int(box[0] + box[2] / 2 + 60), int(box[1] + box[3] / 2)
    browser.drag(place, place)
    browser.wait("document.querySelector('.samples').textContent.includes('decoded')")
    assert "decodedY 402 Cb 512 Cr 512 (10 bit)" in text(browser, ".samples")
    assert "originalY 100 Cb 128 Cr 128" in text(browser, ".samples")


def test_every_sample_comes_through_the_png(show):
    """All prediction filters of PNG, 16 bits: one component as grey, compared with numpy."""
    frames = some_views(form=FORM)
    browser = show(report(views=frames))
    choose(browser, "layout", "one")
    choose(browser, "component", "0")
    found = browser.run(
        "const c = document.createElement('canvas'); const s = document.querySelector('canvas');"
        "const k = s.height / 32; [c.width, c.height] = [48, 32]; const x = (s.width - 48 * k) / 2;"
        "const t = c.getContext('2d'); t.imageSmoothingEnabled = false;"
        "t.drawImage(s, x, 0, 48 * k, 32 * k, 0, 0, 48, 32);"
        "return [...t.getImageData(0, 0, 48, 32).data].filter((_, i) => i % 4 === 0);"
    )
    shown = int(browser.run("return document.querySelector('.viewer').dataset.shown"))
    decoded = taken(frames[shown].output_index, FORM, FORM, None).decoded
    assert decoded is not None
    expected = np.rint(decoded.planes[0].astype(float) * 255 / 1023)
    differing = np.abs(np.array(found).reshape(32, 48) - expected) > 1
    # The mouse may stand on a sample and mark it.
    assert differing.sum() <= 9


def test_the_divider_follows_the_mouse_and_the_view_the_keys(show):
    browser = show(report(views=flat_views()))
    box = browser.run(BOX)
    middle = int(box[0] + box[2] / 2), int(box[1] + box[3] / 2)
    browser.drag(middle, (middle[0] - 100, middle[1]))
    assert int(browser.run("return document.querySelector('[data-control=divider]').value")) < 450
    zoom = text(browser, ".zoom")
    browser.run("document.querySelector('.panes').focus()")
    browser.press("+")
    browser.wait(f"document.querySelector('.zoom').textContent !== '{zoom}'")
    browser.press("0")
    browser.wait(f"document.querySelector('.zoom').textContent === '{zoom}'")
    label = "document.querySelector('.pane .tag.left').textContent.startsWith"
    browser.press("f")
    browser.wait(f"{label}('filtered')")
    browser.press("f")
    browser.wait(f"{label}('decoded')")


def test_panes_side_by_side(show):
    browser = show(report(views=flat_views()))
    choose(browser, "layout", "grid")
    tags = browser.run("return [...document.querySelectorAll('.pane .tag.left')].map((t) => t.textContent)")
    assert [t.split(",")[0] for t in tags] == ["decoded", "filtered", "original", "error change (blue smaller"]
    # A picture without original has fewer of them.
    choose(browser, "view", "1")
    browser.wait("document.querySelector('.viewer').dataset.shown === '1'")
    browser.wait("document.querySelectorAll('.pane').length === 3")


def test_plots_tell_the_values(show):
    browser = show(report(views=some_views()))
    browser.run("document.querySelector('.cursor-bar input').focus()")
    browser.press("\ue014", "\ue014")  # arrow right
    browser.wait("document.querySelector('.readout').textContent.includes('picture2')")
    assert "Y30.200 \u2192 30.200 (0.000)" in text(browser, ".readout")
    assert "Y 30.200" in browser.run(
        "return document.querySelector('.cursor-bar input').getAttribute('aria-valuetext')"
    )
    lines = browser.run("return [...document.querySelectorAll('.cursor')].map((l) => l.style.left)")
    assert len(lines) > 5 and len(set(lines)) == 1 and lines[0].startswith("35.7")
    # Picture 2 can be looked at: Enter on the button goes there.
    browser.run("document.querySelector('.look').click()")
    browser.wait("document.querySelector('.viewer').dataset.shown === '1'")
    box = browser.run(
        "const stage = document.querySelector('.plot .stage'); stage.scrollIntoView({ block: 'center' });"
        "const b = stage.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    place = int(box[0] + box[2] * 0.93), int(box[1] + box[3] / 2)
    browser.drag(place, place)
    browser.wait("document.querySelector('.readout').textContent.includes('picture6')")


def test_tabs(show):
    browser = show(report(points=4, views=flat_views()))
    visible = "return [...document.querySelectorAll('.chapter')].map((c) => !c.hidden)"
    assert browser.run(visible) == [True, False, False, False]
    browser.run("document.querySelector('.tabs button').focus()")
    browser.press("\ue014")
    assert browser.run(visible) == [False, True, False, False]
    browser.wait("document.querySelectorAll('.viewer')[1].dataset.shown !== undefined")


@pytest.mark.parametrize(("width", "dark"), [(320, True), (390, False), (1200, True)])
def test_it_fits_any_width(show, browser, width, dark, tmp_path):
    """Nothing is wider than the window, and the drawing differs between light and dark."""
    browser.size(width, 800)
    browser.dark(dark)
    try:
        show(report(points=4, views=flat_views(), missing=["x" * 300]))
        assert browser.run("return document.documentElement.scrollWidth") <= width
        picture = pytest.importorskip("PIL.Image").open(_file(tmp_path, browser.screenshot()))
        assert picture.size == (width, 800)
        assert (sum(picture.convert("RGB").getpixel((2, 2))) < 150) == dark
    finally:
        browser.size(1200, 900)
        browser.dark(False)


def _file(folder, data):
    path = folder / "screen.png"
    path.write_bytes(data)
    return path
