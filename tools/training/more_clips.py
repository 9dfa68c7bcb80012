"""Make more clips to train on, coded by VVenC as the others are: soft ones from clips, pans over photographs, scenes.

    python tools/training/more_clips.py --clips ../shared/clips --packages FOLDER --vvenc VVENCAPP --output MORE

FOLDER holds the packages that scenes.yaml names, unpacked. A run that was stopped goes on where it was.

The clips at hand are scaled down from large pictures, so all are sharp. A network trained on them alone sharpens, and
that costs PSNR where the source is soft (animation, shallow focus, scaled-up video). So each clip comes again as a
cut from its middle, scaled up. Photographs and drawings add other content, without camera noise: see scenes.py.

Writes NAME.mkv (FFV1, 8 bit, 416x240) and NAME_qQP.266 (10 bit, random access, intra period 32).
"""

import argparse
import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from scenes import HEIGHT, PICTURES, WIDTH, Planes, scenes

RATE = 30
QPS = [22, 27, 32, 37, 42]

# Clip -> the share of its width that is kept and scaled up; 1 / share is how soft it gets.
SOFT = {
    "basketballdrill": 0.7,
    "basketballdrive": 0.5,
    "bqterrace": 0.45,
    "cactus": 0.6,
    "crowd": 0.55,
    "market": 0.75,
    "marketplace": 0.6,
    "partyscene": 0.5,
    "racehorses": 0.55,  # held back: to watch, never to train on
}

# Colour photograph -> (source samples per output sample at the start, at the end, pan in source samples).
PANS = {
    "astronaut.png": (0.8, 0.9, 40.0),
    "chelsea.png": (0.9, 0.7, 30.0),
    "coffee.png": (1.1, 1.0, 60.0),
    "hubble_deep_field.jpg": (1.2, 1.4, 80.0),
    "motorcycle_left.png": (1.0, 1.2, 90.0),
    "rocket.jpg": (0.9, 1.1, 50.0),
}


def to_bytes(x: torch.Tensor) -> npt.NDArray[np.uint8]:
    return x.round().clamp(0, 255).to(torch.uint8).numpy()


def soft(clip: Path, share: float) -> list[Planes]:
    """The middle of each picture of `clip`, scaled up by bicubic interpolation."""
    pictures = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            planes: Planes = []
            for plane, unit in zip(frame.planes, (1, 2, 2), strict=True):
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
                w = int(WIDTH * share) // 2 * 2 // unit
                h = min(int(HEIGHT * share) // 2 * 2 // unit, plane.height)
                top, left = (plane.height - h) // 2, (plane.width - w) // 2
                cut = torch.from_numpy(rows[top : top + h, left : left + w].astype(np.float32))
                size = (HEIGHT // unit, WIDTH // unit)
                planes.append(to_bytes(F.interpolate(cut[None, None], size, mode="bicubic", align_corners=False)[0, 0]))
            pictures.append(planes)
    return pictures[:PICTURES]


def pan(photo: Path, start: float, end: float, way: float) -> list[Planes]:
    """A zoom and pan over a photograph, BT.709 limited range, chroma averaged to half resolution."""
    rgb = np.asarray(Image.open(photo).convert("RGB"), np.float32) / 255
    source = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    high, wide = source.shape[2:]
    r, g, b = source[:, 0:1], source[:, 1:2], source[:, 2:3]
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    source = torch.cat((16 + 219 * luma, 128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748), 1)
    rows = torch.arange(HEIGHT) - (HEIGHT - 1) / 2
    columns = torch.arange(WIDTH) - (WIDTH - 1) / 2
    pictures = []
    for t in range(PICTURES):
        scale = start + (end - start) * t / (PICTURES - 1)
        step = (t / (PICTURES - 1) - 0.5) * way
        # Larger steps than one source sample would alias: blur first.
        smooth = source if scale <= 1 else F.avg_pool2d(F.pad(source, (1, 1, 1, 1), mode="replicate"), 3, 1)
        y = (rows * scale + (high - 1) / 2 + step / 2) / (high - 1) * 2 - 1
        x = (columns * scale + (wide - 1) / 2 + step) / (wide - 1) * 2 - 1
        grid = torch.stack((x[None, :].expand(HEIGHT, -1), y[:, None].expand(-1, WIDTH)), -1)[None]
        picture = F.grid_sample(smooth, grid.float(), mode="bicubic", padding_mode="reflection", align_corners=True)[0]
        chroma = F.avg_pool2d(picture[1:], 2)
        pictures.append([to_bytes(picture[0]), to_bytes(chroma[0]), to_bytes(chroma[1])])
    return pictures


def write_original(pictures: list[Planes], path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for planes in pictures:
            flat = np.concatenate([plane.reshape(-1, WIDTH) for plane in planes])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="yuv420p")))
        out.mux(stream.encode(None))


def code(pictures: list[Planes], vvenc: Path, qp: int, path: Path) -> None:
    raw, part = path.with_suffix(".yuv"), path.with_suffix(".part")
    raw.write_bytes(b"".join(plane.tobytes() for planes in pictures for plane in planes))
    command = [str(vvenc), "-i", str(raw), "-s", f"{WIDTH}x{HEIGHT}", "-c", "yuv420", "-r", str(RATE)]
    command += ["--preset", "faster", "-q", str(qp), "-ip", "32", "-t", "1", "-v", "1", "-o", str(part)]
    subprocess.run(command, check=True)
    raw.unlink()
    part.rename(path)


def clips(folder: Path, packages: Path, config: dict[str, Any]) -> Iterator[tuple[str, Callable[[], list[Planes]]]]:
    for name, share in SOFT.items():
        yield f"soft_{name}", functools.partial(soft, folder / f"{name}.mkv", share)
    for name, motion in PANS.items():
        yield f"pan_{Path(name).stem}", functools.partial(pan, packages / "scikit-image" / name, *motion)
    yield from scenes(packages, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of NAME.mkv")
    parser.add_argument("--packages", type=Path, required=True, help="folder of unpacked packages")
    parser.add_argument("--scenes", type=Path, default=Path(__file__).with_name("scenes.yaml"), help="what they show")
    parser.add_argument("--vvenc", type=Path, required=True, help="the program vvencapp")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, make in clips(args.clips, args.packages, yaml.safe_load(args.scenes.read_text())):
        if (args.output / f"{name}_q{QPS[-1]}.266").exists():
            continue
        pictures = make()
        write_original(pictures, args.output / f"{name}.mkv")
        for qp in QPS:
            code(pictures, args.vvenc, qp, args.output / f"{name}_q{qp}.266")
        print(name, len(pictures), flush=True)


if __name__ == "__main__":
    main()
