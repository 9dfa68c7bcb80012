"""Clips made of still pictures and short videos, to train on: what they show, how it moves, how soft it is.

A scene is a background over which a camera pans, zooms and turns a little, and pictures with a transparent surround
that move on their own ways before it, so that there is motion, occlusion and uncovered background to code. Some scenes
are soft, some have noise, some are dimmer or paler. All of it is drawn from a generator that is seeded by the scene's
name: the same pictures give the same clips.
"""

import functools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

WIDTH, HEIGHT, PICTURES = 416, 240, 33
LARGEST_PICTURE = 60_000_000  # samples; wallpapers have up to 15 million

Planes = list[npt.NDArray[np.uint8]]  # luma, Cb, Cr of one picture

Image.MAX_IMAGE_PIXELS = LARGEST_PICTURE


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that moves. `rgba` (1, 4, H, W), 0..1, colours multiplied by alpha.

    Attributes:
        start, end: where the middle of the view is in the first and last picture, in samples of `rgba`.
        scale: samples of `rgba` per sample of the view, in the first and the last picture.
        turn: by what angle, in radians, in the first and the last picture.
        sway: amplitude in samples and periods of a sine that is added to the way.
    """

    rgba: Tensor
    start: tuple[float, float]
    end: tuple[float, float]
    scale: tuple[float, float]
    turn: tuple[float, float]
    sway: tuple[float, float]

    def view(self, t: float) -> Tensor:
        """(1, 4, HEIGHT, WIDTH) at time t, 0..1; transparent where there is nothing."""
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * t
        angle = self.turn[0] + (self.turn[1] - self.turn[0]) * t
        wave = self.sway[0] * np.sin(2 * np.pi * self.sway[1] * t)
        y0, x0 = (a + (b - a) * t for a, b in zip(self.start, self.end, strict=True))
        rows = (torch.arange(HEIGHT) - (HEIGHT - 1) / 2)[:, None] * scale
        columns = (torch.arange(WIDTH) - (WIDTH - 1) / 2)[None, :] * scale
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        y = y0 + wave + rows * cos + columns * sin
        x = x0 + wave / 2 + columns * cos - rows * sin
        high, wide = self.rgba.shape[2:]
        grid = torch.stack((x / (wide - 1) * 2 - 1, y / (high - 1) * 2 - 1), -1)[None].float()
        return F.grid_sample(self.rgba, grid, mode="bicubic", padding_mode="zeros", align_corners=True).clamp(0, 1)


def load(path: Path, high: int) -> Tensor:
    """A picture of about `high` rows, scaled down without aliasing; (1, 4, H, W), colours multiplied by alpha."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * high * image.width // image.height, 2 * high))  # JPEG: decode no more than is needed
        rgba = image.convert("RGBA")
    size = (max(2, round(rgba.width * high / rgba.height)), high)
    if high < rgba.height:
        rgba = rgba.resize(size, Image.Resampling.LANCZOS)
    samples = torch.from_numpy(np.asarray(rgba, np.float32) / 255).permute(2, 0, 1)[None]
    return torch.cat((samples[:, :3] * samples[:, 3:], samples[:, 3:]), 1)


def background(path: Path, rng: np.random.Generator) -> Layer:
    """The picture fills the view all the time."""
    share = rng.uniform(0.35, 0.85)  # of the picture's height that is seen
    rgba = load(path, int(HEIGHT / share))
    if rgba.shape[3] < 1.1 * WIDTH:  # a tall picture
        rgba = load(path, int(rgba.shape[2] * 1.1 * WIDTH / rgba.shape[3]) + 1)
    rgba = torch.cat((rgba[:, :3] + (1 - rgba[:, 3:]) * 0.3, torch.ones_like(rgba[:, 3:])), 1)
    high, wide = rgba.shape[2:]
    fits = min(high / HEIGHT, wide / WIDTH)
    scale = np.minimum(rng.uniform(0.75, 1.0) * rng.uniform(0.9, 1.1, 2), 0.95 * fits)
    turn = rng.uniform(-0.04, 0.04, 2) if rng.random() < 0.3 else np.zeros(2)
    # How far the middle may be from the edges, for the larger of both scales and what the turn adds.
    free = [
        max(0.0, (side - 1 - scale.max() * (view + 0.05 * other * np.any(turn))) / 2 - 3)
        for side, view, other in ((high, HEIGHT, WIDTH), (wide, WIDTH, HEIGHT))
    ]
    middle = [(high - 1) / 2, (wide - 1) / 2]
    fastest = rng.choice([0.0, 20.0, 60.0, 140.0], p=[0.15, 0.3, 0.35, 0.2])
    start = [rng.uniform(-f, f) for f in free]
    end = [float(np.clip(s + rng.uniform(-1, 1) * fastest, -f, f)) for s, f in zip(start, free, strict=True)]
    return Layer(
        rgba,
        (middle[0] + start[0], middle[1] + start[1]),
        (middle[0] + end[0], middle[1] + end[1]),
        (float(scale[0]), float(scale[1])),
        (float(turn[0]), float(turn[1])),
        (0.0, 0.0),
    )


def foreground(path: Path, rng: np.random.Generator) -> Layer:
    """The picture crosses the view, or stands and sways."""
    rgba = load(path, int(HEIGHT * rng.uniform(0.35, 1.1)))
    if rng.random() < 0.5:
        rgba = rgba.flip(3)
    high, wide = rgba.shape[2:]
    place = np.array([rng.uniform(-0.3, 0.3) * HEIGHT, rng.uniform(-0.4, 0.4) * WIDTH])
    way = rng.uniform(-1, 1, 2) * rng.choice([3.0, 30.0, 120.0])
    scale = rng.uniform(0.9, 1.1, 2)
    turn = rng.uniform(-0.15, 0.15, 2) if rng.random() < 0.5 else np.zeros(2)
    a, b = place - way / 2, place + way / 2
    return Layer(
        rgba,
        (high / 2 + a[0], wide / 2 + a[1]),
        (high / 2 + b[0], wide / 2 + b[1]),
        (float(scale[0]), float(scale[1])),
        (float(turn[0]), float(turn[1])),
        (float(rng.uniform(0, 6)), float(rng.uniform(0.3, 2))),
    )


def blurred(rgb: Tensor, sigma: float) -> Tensor:
    reach = max(1, round(3 * sigma))
    window = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    window = (window / window.sum()).expand(rgb.shape[1], 1, -1)
    rgb = F.conv2d(F.pad(rgb, (reach, reach, 0, 0), mode="replicate"), window[:, :, None, :], groups=rgb.shape[1])
    return F.conv2d(F.pad(rgb, (0, 0, reach, reach), mode="replicate"), window[:, :, :, None], groups=rgb.shape[1])


def to_planes(rgb: Tensor) -> Planes:
    """(1, 3, H, W), 0..1 -> BT.709 limited range, 4:2:0, chroma averaged to half resolution."""
    r, g, b = rgb[0]
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    chroma = torch.stack((128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748))[None]
    cb, cr = F.avg_pool2d(chroma, 2)[0]
    return [plane.round().clamp(0, 255).to(torch.uint8).numpy() for plane in (16 + 219 * luma, cb, cr)]


def finish(rng: np.random.Generator) -> dict[str, Any]:
    """What is done to every picture of a scene: blur, tone, paleness, motion blur, noise."""
    return {
        "blur": rng.choice([0.0, rng.uniform(0.4, 1.3)], p=[0.55, 0.45]),
        "gain": rng.uniform(0.6, 1.1),
        "gamma": rng.uniform(0.7, 1.4),
        "colour": rng.uniform(0.4, 1.2),
        "exposures": 3 if rng.random() < 0.3 else 1,
        "noise": rng.choice([0.0, rng.uniform(0.5, 3.0)], p=[0.75, 0.25]),
    }


def seeded(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def scene(name: str, behind: Path, before: list[Path]) -> list[Planes]:
    """The pictures of a scene."""
    rng = seeded(name)
    layers = [background(behind, rng), *(foreground(path, rng) for path in before)]
    how = finish(rng)
    pictures = []
    for n in range(PICTURES):
        exposures = []
        for e in range(how["exposures"]):
            t = (n + 0.5 * e / how["exposures"]) / PICTURES
            rgb = torch.zeros(1, 3, HEIGHT, WIDTH)
            for layer in layers:
                rgba = layer.view(t)
                rgb = rgba[:, :3] + (1 - rgba[:, 3:]) * rgb
            exposures.append(rgb)
        pictures.append(developed(torch.stack(exposures).mean(0), how, rng))
    return pictures


def developed(rgb: Tensor, how: dict[str, Any], rng: np.random.Generator) -> Planes:
    rgb = how["gain"] * rgb.clamp(0, 1) ** how["gamma"]
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + how["colour"] * (rgb - grey)
    if how["blur"]:
        rgb = blurred(rgb, how["blur"])
    if how["noise"]:
        grain = rng.standard_normal((1, 3, HEIGHT, WIDTH), np.float32) + rng.standard_normal(
            (1, 1, HEIGHT, WIDTH), np.float32
        )
        rgb = rgb + torch.from_numpy(grain) * (how["noise"] / 255 / 2**0.5)
    return to_planes(rgb.clamp(0, 1))


def decoded(path: Path, first: int, every: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Pictures first, first + every, ... of a video, as RGB."""
    with av.open(str(path)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n >= first and (n - first) % every == 0:
                yield frame.to_ndarray(format="rgb24")


def excerpt(path: Path, first: int, every: int, region: list[int] | None = None) -> list[Planes]:
    """A part of a video, scaled: the middle of its pictures, or of a `region` of them (left, top, width, height)."""
    pictures = []
    for rgb in decoded(path, first, every):
        if region:
            x, y, wide, high = region
            rgb = rgb[y : y + high, x : x + wide]
        high, wide = rgb.shape[:2]
        w, h = min(wide, high * WIDTH // HEIGHT), min(high, wide * HEIGHT // WIDTH)
        top, left = (high - h) // 2, (wide - w) // 2
        cut = Image.fromarray(rgb[top : top + h, left : left + w])
        scaled = np.asarray(cut.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32) / 255
        pictures.append(to_planes(torch.from_numpy(scaled).permute(2, 0, 1)[None]))
        if len(pictures) == PICTURES:
            return pictures
    raise ValueError(f"{path}: only {len(pictures)} pictures from {first}")


def matching(folder: Path, patterns: list[str]) -> list[Path]:
    """The files below `folder` that a pattern names, in order; pictures that are there twice only once."""
    found: dict[bytes, Path] = {}
    for pattern in patterns:
        paths = sorted(folder.glob(pattern))
        if not paths:
            raise FileNotFoundError(f"{folder / pattern}: no such file")
        for path in paths:
            found.setdefault(path.read_bytes(), path)
    return list(found.values())


def scenes(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Callable[[], list[Planes]]]]:
    """Name of every clip that `config` (see scenes.yaml) describes, and what makes its pictures."""
    for name, video in config["excerpts"].items():
        path, region = folder / video["file"], video.get("region")
        yield f"video_{name}", functools.partial(excerpt, path, video["first"], video["every"], region)
    portraits = matching(folder, config["foregrounds"])
    groups = {kind: matching(folder, group) for kind, group in config["backgrounds"].items()}
    # Kinds in turn, so that a run that is stopped leaves some of each.
    for again in range(config["clips_of_each"]):
        for n in range(max(map(len, groups.values()))):
            for kind, paths in groups.items():
                if n < len(paths):
                    name = f"{kind}{again + 1}_{n:02d}"
                    rng = seeded(f"{name} layers")
                    count = rng.integers(4)
                    before = [portraits[i] for i in rng.choice(len(portraits), count, replace=False)]
                    yield name, functools.partial(scene, name, paths[n], before)
