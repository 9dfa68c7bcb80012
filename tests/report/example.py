"""Runs and streams for tests of pages, made up or made quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnpf.frames import Format, Frame
from nnpf.report.views import Taken
from tests.nnpf.onnx_graphs import identity_filter
from tests.nnpf.streams import activation, characteristics, save, with_messages

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x00\u2028"


def write_stream(samples: Path, folder: Path, name: str = "clip.266", **elements: Any) -> Path:
    """The sample with a filter that changes nothing; on, off, on for one picture."""
    save(folder, identity_filter(6, 6, 1))
    placed = [
        ("random_access", characteristics(overlap=1, **elements)),
        ("first", activation()),
        ("output:3", activation()),
        ("output:20", activation(cancel_flag=1)),
        ("output:40", activation(persistence_flag=0)),
    ]
    units = with_messages(samples / "bbb_q37.266", placed)
    path = folder / name
    path.write_bytes(b"".join(u.prefix + bytes(u.data) + bytes(u.zeros) for u in units))
    return path


def eval_document(*, points: int = 1, pictures: int = 7, name: str = "clip", gain: float = 0.1) -> dict[str, Any]:
    """As `nnpf eval --json` writes it, with invented figures. Picture i gains `gain` * (i - 2) / 10 dB of luma."""

    def quality(luma: float) -> dict[str, Any]:
        psnr = [luma, luma + 5, luma + 6]
        combined = (6 * psnr[0] + psnr[1] + psnr[2]) / 8
        return {"psnr": psnr, "psnr_611": combined, "ssim": [0.9] * 3, "ms_ssim": [0.95, None, None]}

    def point(i: int) -> dict[str, Any]:
        base = 30.0 + 2 * i
        shown = [
            {
                "output_index": p,
                "poc": p,
                "filters": [f"{name}.onnx"],
                "decoded": quality(base + p / 10),
                "filtered": quality(base + p / 10 + gain * (p - 2) / 10),
            }
            for p in range(pictures)
        ]
        mean = gain * sum(p - 2 for p in range(pictures)) / 10 / pictures
        return {
            "label": f"{name}{i}",
            "stream": f"{name}{i}.266",
            "bytes": 10000 * (i + 1),
            "message_bytes": 100,
            "rate_anchor": 99.0 * (i + 1),
            "rate_test": 100.0 * (i + 1),
            "formats": {"original": name, "decoded": name, "filtered": name},
            "decoded": quality(base),
            "filtered": quality(base + mean),
            "filters": [
                {
                    "nnpfc_id": 1,
                    "update": False,
                    "model": f"{name}.onnx",
                    "uri": name,
                    "carried_bytes": 0,
                    "complexity": {
                        "parameters": 31526,
                        "parameter_bytes": 126104,
                        "macs": 7848.0,
                        "macs_with_overlap": 8264.8,
                        "macs_of_picture": 8483.4,
                        "patch": [210, 122],
                        "patches": 1,
                        "overlap": 5,
                        "claims": [
                            {"element": name, "stated": 1, "bound": 1000, "measured": 1320, "holds": False},
                        ],
                    },
                }
            ],
            "engines": [name],
            "notes": [name],
            "pictures": shown,
        }

    deltas = [
        {
            "points": [f"{name}{i}" for i in range(points)],
            "measure": measure,
            "unit": "dB",
            "rate_percent": -3.25,
            "quality": 0.125,
            "problems": [],
            "notes": [name],
        }
        for measure in ("Y", "Cb")
    ]
    return {
        "original": f"{name}.y4m",
        "rate_unit": "kbit/s",
        "points": [point(i) for i in range(points)],
        "bd": deltas if points > 1 else [],
        "bd_problem": None if points > 1 else "1 rate points; 4 are needed",
        "findings": [name],
        "inputs": {},
        "environment": {name: name},
    }


def random_frame(form: Format, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    planes = tuple(
        rng.integers(0, 1 << depth, shape).astype(np.uint8 if depth == 8 else np.uint16)
        for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
    )
    return Frame(planes, form)


def taken(index: int, decoded: Format, filtered: Format, original: Format | None) -> Taken:
    return Taken(
        index,
        index,
        random_frame(decoded, 3 * index),
        random_frame(filtered, 3 * index + 1),
        None if original is None else random_frame(original, 3 * index + 2),
    )
