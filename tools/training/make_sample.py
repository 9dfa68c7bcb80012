"""Make samples/bbb_q37.266 and samples/bbb.mkv from the `bbb` clip.

The coded stream is copied as it is. The original is coded again, losslessly, because the FFV1 file is 4.4 MB and
lossless H.265 needs 2.5 MB for the same samples; the script checks that not one sample differs.

    python tools/training/make_sample.py ../shared/clips samples
"""

import argparse
import shutil
from pathlib import Path

import av
import numpy as np

LOSSLESS = {"preset": "veryslow", "x265-params": "lossless=1:log-level=error"}


def recode(source: Path, target: Path) -> int:
    """Code `source` again, losslessly, and return its number of pictures."""
    with av.open(str(source)) as src, av.open(str(target), "w") as out:
        video = src.streams.video[0]
        stream = out.add_stream("libx265", rate=video.average_rate)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        stream.options = LOSSLESS
        pictures = 0
        for frame in src.decode(video):
            frame.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(frame))
            pictures += 1
        out.mux(stream.encode(None))
    return pictures


def same_samples(a: Path, b: Path) -> bool:
    with av.open(str(a)) as left, av.open(str(b)) as right:
        pairs = zip(left.decode(video=0), right.decode(video=0), strict=True)
        return all(np.array_equal(x.to_ndarray(), y.to_ndarray()) for x, y in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder that holds bbb.mkv and bbb_q37.266")
    parser.add_argument("samples", type=Path, help="folder to write to")
    args = parser.parse_args()
    shutil.copyfile(args.clips / "bbb_q37.266", args.samples / "bbb_q37.266")
    pictures = recode(args.clips / "bbb.mkv", args.samples / "bbb.mkv")
    if not same_samples(args.clips / "bbb.mkv", args.samples / "bbb.mkv"):
        raise SystemExit(f"{args.samples / 'bbb.mkv'}: not the same samples as the source")
    print(f"{args.samples / 'bbb.mkv'}: {pictures} pictures, {(args.samples / 'bbb.mkv').stat().st_size} bytes")


if __name__ == "__main__":
    main()
