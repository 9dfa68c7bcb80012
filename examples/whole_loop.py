"""The whole loop on H.265 or H.264, anywhere: encode, inject, show, apply, fit an update, inject that, apply again.

    python examples/whole_loop.py --codec h265 --base samples/filters/tiny.onnx --folder /tmp/loop

Everything is done by PyAV's encoders and this package; nothing else has to be installed. The clip is cut from
samples/bbb.mkv (Big Buck Bunny, (c) Blender Foundation, CC-BY 3.0). An update is sent where it is worth its bytes,
which they seldom are in a clip of a few pictures; --slope 0.002 makes bytes cheap.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av

import nnpf

ENCODERS = {"h265": ("libx265", "log-level=none"), "h264": ("libx264", "log=-1")}
SAMPLES = Path(__file__).resolve().parent.parent / "samples"


def encode(codec: str, pictures: int, crf: int, original: Path, coded: Path) -> None:
    """Cut a clip out of the sample, 208x112: without loss (FFV1) as `original`, and as an MP4 file with B pictures."""
    encoder, quiet = ENCODERS[codec]
    with (
        av.open(str(SAMPLES / "bbb.mkv")) as source,
        av.open(str(original), "w") as lossless,
        av.open(str(coded), "w") as mp4,
    ):
        outputs = []
        for container, name in ((lossless, "ffv1"), (mp4, encoder)):
            stream = container.add_stream(name, rate=25, width=208, height=112, pix_fmt="yuv420p")
            outputs.append((container, stream))
        stream.codec_context.options = {f"{name.removeprefix('lib')}-params": f"{quiet}:crf={crf}:keyint=32:bframes=3"}
        for number, frame in enumerate(islice(source.decode(video=0), pictures)):
            part = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24")[:112, :208].copy(), format="rgb24")
            picture = part.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            for container, stream in outputs:
                container.mux(stream.encode(picture))
        for container, stream in outputs:
            container.mux(stream.encode(None))


def psnr(stream: Path, original: Path, models: Path) -> tuple[float, float]:
    """Luma PSNR of the decoded and of the shown pictures, over the clip, in dB."""
    from nnpf.metrics import average, compare
    from nnpf.video import read_video

    pairs = []
    originals = None
    for shown in nnpf.apply(stream, models=models):
        originals = originals or read_video(original, shown.decoded.format)
        wanted = next(originals)
        pairs.append((compare(shown.decoded, wanted), compare(shown.frame, wanted)))
    before, after = (average(pair[i] for pair in pairs) for i in (0, 1))
    return before.psnr[0], after.psnr[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", choices=ENCODERS, default="h265")
    parser.add_argument("--base", type=Path, default=SAMPLES / "filters/tiny.onnx")
    parser.add_argument("--folder", type=Path, default=Path(), help="where files are written")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--crf", type=int, default=34)
    parser.add_argument("--params", default="biases", help="what of the base may change (nnpf adapt --help)")
    parser.add_argument("--steps", type=int, default=100, help="of fitting")
    parser.add_argument("--slope", type=float, help="dB for each factor e of rate (default: by the QP)")
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    original, coded, filtered, fitted = (
        args.folder / name for name in ("original.mkv", "coded.mp4", "filtered.mp4", "fitted.mp4")
    )

    encode(args.codec, args.pictures, args.crf, original, coded)
    nnpf.inject(coded, filtered, base=args.base, force=True)
    for found in nnpf.read_messages(filtered):
        if found.name in ("nnpfc", "nnpfa"):
            print(f"picture {found.picture.decode_index}, POC {found.picture.poc}: {found.name}")
    before, after = psnr(filtered, original, args.base.parent)
    print(f"base:   luma PSNR {before:.3f} -> {after:.3f} dB")

    update = nnpf.fit_update(
        coded, original=original, base=args.base, params=args.params, steps=args.steps, slope=args.slope
    )
    (result,) = update.results
    update.save(args.folder / "update.nnc", force=True)
    if result.decision != "update":
        print(f"no update: {result.reason}")
        return
    nnpf.inject(coded, fitted, args.folder / "update.yaml", force=True)
    before, after = psnr(fitted, original, args.base.parent)
    print(f"update: luma PSNR {before:.3f} -> {after:.3f} dB, by {len(result.payload)} bytes")


if __name__ == "__main__":
    main()
