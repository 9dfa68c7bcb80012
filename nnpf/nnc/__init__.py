"""Coding of neural networks: payloads of ISO/IEC 15938-17 (NNC, also called NNR) to tensors and back."""

from nnpf.nnc.decoder import CodedTensor, Decoded, Decoder, Note, decode
from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits

__all__ = [
    "DEFAULT_LIMITS",
    "CodedTensor",
    "Decoded",
    "Decoder",
    "Limits",
    "NncError",
    "Note",
    "UnsupportedError",
    "decode",
]
