"""bench/gain.py: how it counts, and what it says of results."""

import importlib.util
import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def gain():
    spec = importlib.util.spec_from_file_location("gain_bench", Path("bench/gain.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["gain_bench"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gain_bench"]


QPS = (22, 27, 32, 37, 42)


def results(gain, lift: float, messages: int, **cell):
    """Curves of a clip of 33 pictures: doubling the rate gives 3 dB; what is measured lies `lift` dB higher."""
    found = {}
    for at, qp in enumerate(QPS):
        size, psnr = 64_000 >> at, 42.0 - 3 * at
        plain = gain.Cell("market", qp)
        found[plain] = gain.Result((psnr, psnr, psnr), 33, size, 0, 1, (), 0.0)
        test = replace(plain, **cell)
        found[test] = gain.Result((psnr + lift,) * 3, 33, size, messages, 1, (messages,), 0.0)
    return found, test


def test_messages_count_with_the_share_of_what_they_serve(gain) -> None:
    cell = gain.Cell("market", 22, "small", 10)
    result = gain.Result((40.0, 40.0, 40.0), 33, 10_000, 1_000, 1, (), 0.0)
    seconds = 33 / 30
    assert result.rate(cell) == pytest.approx((10_000 + 1_000 * seconds / 10) * 8 / 1000 / seconds)
    assert result.rate(replace(cell, every=1)) == pytest.approx((10_000 + 1_000 * seconds) * 8 / 1000 / seconds)
    assert replace(result, messages=0).rate(gain.Cell("market", 22)) == pytest.approx(10_000 * 8 / 1000 / seconds)


def test_deltas_are_against_the_unfiltered_streams(gain) -> None:
    found, test = results(gain, 0.3, 0, filter="small", every=10)
    # 0.3 dB at 3 dB for each factor 2 of rate.
    expected = 100 * (2 ** (-0.1) - 1)
    assert gain.delta(found, test, QPS[:4], 0).rate_percent == pytest.approx(expected, abs=0.05)
    costly, test = results(gain, 0.0, 100, filter="small", every=1)
    assert gain.delta(costly, test, QPS[:4], 0).rate_percent > 0


def test_height_over_a_curve(gain) -> None:
    found, test = results(gain, 0.3, 0, filter="small", every=10)
    adapted = replace(test, steps=5)
    rate_of = found[test].anchor
    for bytes_more, lift in ((0, 0.2), (rate_of, 3.5)):
        found[adapted] = replace(found[test], psnr=(30.3 + lift,) * 3, messages=bytes_more)
        share = found[adapted].pictures / 30 / 10
        expected = lift - 3 * math.log2(1 + bytes_more * share / rate_of)
        assert gain.above_curve(found, adapted, test, 0) == pytest.approx(expected, abs=0.05)


def test_the_report_names_what_got_worse(gain, tmp_path: Path) -> None:
    found, _ = results(gain, -0.01, 0, filter="small", every=10)
    text = gain.report(found, ["market"], QPS, gain.Setup(tmp_path, {}, tmp_path)).text()
    assert "market QP 42 Y -0.010" in text
    assert "| small, 10 s | mean | +" in text


def test_a_cell_is_measured_once(gain, shared: Path, samples: Path, tmp_path: Path, monkeypatch) -> None:
    """A real one: the stream with the filter, decoded; then out of the cache."""
    setup = gain.Setup(shared / "clips", {"tint_red": (samples / "filters/tint_red.onnx").resolve()}, tmp_path)
    cell = gain.Cell("crowd", 42, "tint_red", 10)
    first = gain.measured(cell, setup, None)
    assert first.messages > 0
    assert first.anchor == (shared / "clips/crowd_q42.266").stat().st_size
    assert first.psnr[2] < gain.measured(gain.Cell("crowd", 42), setup, None).psnr[2]
    monkeypatch.setattr(gain, "_measured", None)
    assert gain.measured(cell, setup, None) == first
    assert gain.measured(replace(cell, every=1), setup, None) == first  # the same stream
    assert json.loads(json.dumps(asdict(first)))["pictures"] == 16
