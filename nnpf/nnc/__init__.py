"""Coding of neural networks: payloads of ISO/IEC 15938-17 (NNC, also called NNR) to tensors and back."""

from nnpf.nnc.decoder import CodedTensor, Decoded, Decoder, Note, decode
from nnpf.nnc.encoder import Encoder, encode
from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
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
    "encode",
]
