"""Coding of neural networks: payloads of ISO/IEC 15938-17 (NNC, also called NNR) to tensors and back.

    payload = encode({"weight": array}, Settings(qp=-30))
    tensors = decode(payload)                                   # NumPy arrays, by name
    payload = encode_model(onnx.load("filter.onnx"))            # the graph, too
    model = decode_model(payload)

`Encoder` and `Decoder` keep what updates of a model refer to; `nnpf.nnc.updates` makes and applies differences.
"""

from nnpf.nnc.decoder import CodedTensor, Decoded, Decoder, Note, decode
from nnpf.nnc.encoder import Encoder, encode
from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
from nnpf.nnc.model import decode_model, encode_model
from nnpf.nnc.settings import Block, Settings

__all__ = [
    "DEFAULT_LIMITS",
    "Block",
    "CodedTensor",
    "Decoded",
    "Decoder",
    "Encoder",
    "Limits",
    "NncError",
    "Note",
    "Settings",
    "UnsupportedError",
    "decode",
    "decode_model",
    "encode",
    "encode_model",
]
