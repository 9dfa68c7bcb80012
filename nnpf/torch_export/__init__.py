"""Models that torch.export.save wrote (`.pt2`), as ONNX graphs.

torch.export.load unpickles, which runs whatever a file asks for ("never load data from an untrusted source"), and
filters come with streams from strangers. So the archive is read here: its graph is JSON, its weights are plain bytes,
and what is pickled is not touched. The graph of ATen operators becomes one of ONNX operators, so that such a model is
like any other from there on: every engine runs it, its parameters keep their names, and updates apply to it.
"""

from nnpf.torch_export.archive import is_archive
from nnpf.torch_export.conversion import convert

__all__ = ["convert", "is_archive"]
