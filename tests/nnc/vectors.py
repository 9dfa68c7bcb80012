"""Reference vectors (in ../shared) and our own (beside this file), as tests want them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnpf import nnc
from nnpf.nnc.settings import NNCODEC

OWN = Path(__file__).parent / "vectors"

_OPTIONS = {
    "qp": "qp",
    "nonweight_qp": "nonweight_qp",
    "qp_density": "qp_density",
    "use_dq": "dependent",
    "scan_order": "scan_order",
    "row_skipping": "row_skip",
    "int_quant_bw": "bit_depth",
    "opt_qp": "scale_by_size",
    "bnf": "fold_batch_norm",
    "qp_per_tensor": "tensor_qp",
    "tca": "temporal",
    "lambda_scale": "rate_distortion",
}


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file. Decoded codebooks are float64 there, holding the same numbers as our float32."""
    with np.load(path) as f:
        return {k: f[k].astype(np.float32) if f[k].dtype == np.float64 else f[k] for k in f.files}


@dataclass(frozen=True)
class Vector:
    """One reference vector: what NNCodec was given, what it wrote, what it decoded."""

    folder: Path
    about: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @property
    def payload(self) -> bytes:
        return (self.folder / f"{self.name}.nnc").read_bytes()

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return arrays(self.folder / f"{self.name}.input.npz")

    @property
    def decoded(self) -> dict[str, np.ndarray]:
        return arrays(self.folder / f"{self.name}.npz")

    @property
    def settings(self) -> nnc.Settings:
        """NNCodec's options in our terms."""
        options: dict[str, Any] = {}
        for key, value in self.about["settings"].items():
            if key == "codebook_mode":
                options["codebook"] = ("off", "always", "auto")[value]
            elif key == "param_opt":
                options["search"] = "nncodec" if value else "none"
            elif key == "cabac_unary_length_minus1":
                options["unary_length"] = value + 1
            elif key in _OPTIONS:
                options[_OPTIONS[key]] = value
        return replace(NNCODEC, history=bool(self.about.get("hdsp")), **options)

    @property
    def blocks(self) -> list[nnc.Block]:
        if self.name.startswith(("k10", "k11")):
            return [nnc.Block(weight="w", g="w_G", h="w_H", bias="w.b", shape=(12, 6, 3, 3))]
        given = self.about.get("block_id_and_param_type")
        if not given:
            return []
        members: dict[str, dict[str, str]] = defaultdict(dict)
        for name, block in given["block_identifier"].items():
            if block is not None:
                members[block][given["parameter_type"][name]] = name
        return [
            nnc.Block(
                weight=m["weight"],
                local_scaling=m.get("weight.ls"),
                bias=m.get("bias"),
                bn_beta=m.get("bn.beta"),
                bn_gamma=m.get("bn.gamma"),
                bn_mean=m.get("bn.mean"),
                bn_var=m.get("bn.var"),
            )
            for m in members.values()
            if len(m) > 1
        ]


def reference_vectors(shared: Path) -> list[Vector]:
    folder = shared / "vectors" / "nnc"
    return [Vector(folder, json.loads(f.read_text())) for f in sorted(folder.glob("*.json"))]


def own_payloads() -> dict[str, bytes]:
    """Our own streams that decode by themselves, and the updates in sequence."""
    return {f.stem: f.read_bytes() for f in sorted(OWN.glob("*.nnc"))}


def assert_same(tensors: dict[str, Any], expected: dict[str, Any]) -> None:
    """Same names, types, shapes and bits."""
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype, name
        assert tensors[name].shape == value.shape, name
        assert np.array_equal(tensors[name], value), name
