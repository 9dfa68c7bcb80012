"""Makes the streams in tests/nnc/vectors: `python tests/nnc/make_vectors.py`. Self-made models, every coding tool once.

They pin what this package writes and reads, so that a user without the reference vectors still runs meaningful tests.
A change in their bytes needs a reason in the commit message.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nnpf import nnc
from nnpf.nnc.settings import NNCODEC

FOLDER = Path(__file__).parent / "vectors"


def model(seed: int = 1) -> dict[str, np.ndarray]:
    """Weights like those of a small filter, with sparse rows, a scalar, integers and a name beyond ASCII."""
    rng = np.random.default_rng(seed)
    rows = rng.laplace(scale=0.05, size=(12, 20)).astype(np.float32)
    rows[[2, 3, 7]] = 0
    return {
        "conv.weight": rng.laplace(scale=0.1, size=(8, 4, 3, 3)).astype(np.float32),
        "conv.bias": rng.normal(scale=0.2, size=8).astype(np.float32),
        "größe": rows,
        "scale": np.float32(0.75),
        "table": rng.integers(-9, 10, size=(5, 6)).astype(np.int32),
    }


def batch_norm(seed: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "c.weight": rng.laplace(scale=0.1, size=(6, 4, 3, 3)).astype(np.float32),
        "c.bias": rng.normal(scale=0.1, size=6).astype(np.float32),
        "bn.beta": rng.normal(scale=0.1, size=6).astype(np.float32),
        "bn.gamma": rng.uniform(0.5, 1.5, size=6).astype(np.float32),
        "bn.mean": rng.normal(scale=0.1, size=6).astype(np.float32),
        "bn.var": rng.uniform(0.5, 1.5, size=6).astype(np.float32),
    }


BN_BLOCK = nnc.Block(
    weight="c.weight", bias="c.bias", bn_beta="bn.beta", bn_gamma="bn.gamma", bn_mean="bn.mean", bn_var="bn.var"
)

# Name: tensors, settings, blocks.
SINGLE = {
    "default": (model(), nnc.Settings(), ()),
    "reference_tools": (model(), NNCODEC, ()),
    "uniform": (model(), nnc.Settings(dependent=False, rate_distortion=0), ()),
    "fine": (model(), nnc.Settings(qp=-70, unary_length=2), ()),
    "codebook": (model(), nnc.Settings(qp=-16, codebook="always"), ()),
    "blocks_8": (model(), nnc.Settings(scan_order=1, row_skip=False), ()),
    "row_skip": (model(), nnc.Settings(row_skip=True), ()),
    "bit_depth_4": (model(), nnc.Settings(bit_depth=4, dependent=False), ()),
    "lossless": (model(), nnc.Settings(lossless=True), ()),
    "batch_norm": (batch_norm(), nnc.Settings(), (BN_BLOCK,)),
    "batch_norm_folded": (batch_norm(), nnc.Settings(fold_batch_norm=True), (BN_BLOCK,)),
}


def updates() -> list[bytes]:
    """A base and three updates with temporal and history contexts."""
    rng = np.random.default_rng(3)
    encoder = nnc.Encoder(nnc.Settings(qp=-32))
    tensors = {name: value for name, value in model().items() if name != "table"}
    payloads = [encoder.encode(tensors)]
    for _ in range(3):
        changed = {}
        for name, value in tensors.items():
            moved = rng.random(np.shape(value)) < 0.2
            changed[name] = (moved * rng.normal(scale=0.02, size=np.shape(value))).astype(np.float32)
        changed["scale"] = np.float32(0)  # not sent
        payloads.append(encoder.encode_update(changed))
    return payloads


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (tensors, settings, blocks) in SINGLE.items():
        payload = nnc.encode(tensors, replace(settings, threads=1), blocks=blocks)
        (FOLDER / f"{name}.nnc").write_bytes(payload)
        np.savez_compressed(FOLDER / f"{name}.npz", **nnc.decode(payload))
    decoder = nnc.Decoder()
    for index, payload in enumerate(updates()):
        (FOLDER / f"update_{index}.nnc").write_bytes(payload)
        np.savez_compressed(FOLDER / f"update_{index}.npz", **decoder.decode(payload))


if __name__ == "__main__":
    main()
