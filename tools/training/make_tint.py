"""Make samples/filters/tint_{red,green,blue}.onnx: filters of one layer that anyone can see working.

    python tools/training/make_tint.py samples/filters

A 1x1 convolution keeps every sample and adds a constant to the chroma planes (and a little to luma), so that the whole
picture takes on the colour. The strength channel is read and has no weight. Overlap 0.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx.helper import make_node
from onnx_file import IN_CHANNELS, OUT_CHANNELS, filter_model

# What is added to luma, Cb and Cr (samples 0..1): about a fifth of the way to the primary in BT.709 limited range.
TINTS: dict[str, tuple[float, float, float]] = {
    "red": (-0.02, -0.04, 0.16),
    "green": (0.02, -0.12, -0.14),
    "blue": (-0.04, 0.16, -0.03),
}


def tint(colour: str) -> onnx.ModelProto:
    """The filter (N, 7, H, W) -> (N, 6, H, W), order 3, that adds the tint `colour`."""
    luma, cb, cr = TINTS[colour]
    parameters: dict[str, npt.NDArray[np.generic]] = {
        "tint.weight": np.eye(OUT_CHANNELS, IN_CHANNELS, dtype=np.float32)[:, :, None, None],
        "tint.bias": np.array([luma] * 4 + [cb, cr], np.float32),
    }
    return filter_model(
        f"tint_{colour}",
        [make_node("Conv", ["input", *parameters], ["output"], "tint", kernel_shape=[1, 1])],
        parameters,
        purpose=f"a {colour} tint, to show that a filter ran",
        overlap=0,
        macs_per_luma_sample=IN_CHANNELS * OUT_CHANNELS / 4,
        training="none; made by python tools/training/make_tint.py",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write the three files")
    args = parser.parse_args()
    for colour in TINTS:
        onnx.save(tint(colour), str(args.folder / f"tint_{colour}.onnx"))


if __name__ == "__main__":
    main()
