"""Whose branches count as coverage, for each target. Apart from `targets`, because it is asked before those imports."""

# numba compiles the inner loops of nnpf.nnc from their bytecode, which must be as it was written.
COMPILED = tuple(
    f"nnpf.nnc.{module}" for module in ("level_coding", "level_decoding", "level_optimization", "level_quantization")
)

_PIPELINE = (
    "vsei",
    "nnpf.activation",
    "nnpf.characteristics",
    "nnpf.describe",
    "nnpf.elements",
    "nnpf.extraction",
    "nnpf.filters",
    "nnpf.intake",
    "nnpf.model",
    "nnpf.runner",
    "nnpf.sources",
    "nnpf.spec",
    "nnpf.tensors",
    "nnpf_tools",
)

PACKAGES = {
    "byte_stream": ("vsei",),
    "message": ("vsei", "nnpf.characteristics"),
    "headers_vvc": ("vsei",),
    "headers_hevc": ("vsei",),
    "headers_avc": ("vsei",),
    "nnc_payload": ("nnpf.nnc",),
    "nnc_update": ("nnpf.nnc",),
    "onnx_model": ("nnpf.model",),
    "engine_openvino": ("nnpf",),
    "engine_onnxruntime": ("nnpf",),
    "engine_torch": ("nnpf",),
    "torch_export": ("nnpf.torch_export",),
    "specification": ("nnpf.spec", "nnpf.describe", "nnpf.elements", "vsei.selection"),
    "y4m": ("nnpf.frames",),
    "containers": ("vsei", "nnpf.container_formats", "nnpf.containers", "nnpf.muxing", "nnpf.opening", "nnpf_tools"),
    "commands": _PIPELINE,
    "apply": _PIPELINE,
}
