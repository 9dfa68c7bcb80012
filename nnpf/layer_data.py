"""One layer of a stream for decoders that know a single one, as FFmpeg's: its NAL units and the parameter sets that it
shares with other layers, all with nuh_layer_id 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nnpf.errors import NnpfError
from vsei.nal import Codec, NalHeader, Vvc
from vsei.pictures import Picture, PictureUnit

_PARAMETER_SETS = {Codec.VVC: (Vvc.VPS, Vvc.SPS, Vvc.PPS, Vvc.PREFIX_APS, Vvc.SUFFIX_APS)}

# Bytes. The largest of them, with scaling lists or filters, have a few thousand; hostile ones are to take no memory.
_MAX_PARAMETER_SET = 1 << 16


class LayerData:
    """To be given all picture units of a stream in decoding order, those of the layer to `of`, all others to `skip`."""

    def __init__(self, codec: Codec, layer_id: int) -> None:
        self._shared_types = _PARAMETER_SETS.get(codec, ())
        self._layer = layer_id
        # By type and the byte that begins with the identifier; the last one of each counts.
        self._shared: dict[tuple[int, int], bytes] = {}

    def skip(self, unit: PictureUnit) -> None:
        """Keep the parameter sets that pictures of the layer may refer to: identifiers are of all layers together, and
        nuh_layer_id is at most that of the picture (H.266 7.4.2.2)."""
        for header, data in _nal_units(unit):
            wanted = header.nal_unit_type in self._shared_types and header.layer_id <= self._layer
            if wanted and header.size < len(data) <= _MAX_PARAMETER_SET:
                key = header.nal_unit_type, data[header.size]
                self._shared.pop(key, None)  # the newest one is to come last
                self._shared[key] = _alone(header, data)

    def of(self, unit: PictureUnit, picture: Picture) -> bytes:
        """A picture of the layer, as an Annex B byte stream.

        Raises:
            NnpfError: other layers are needed to decode it.
        """
        if picture.inter_layer and self._layer:
            raise NnpfError(
                f"layer {self._layer} is predicted from other layers, which FFmpeg does not decode: "
                "--decoder DecoderApp (VTM), or give decoded pictures as YUV"
            )
        own = [_alone(header, data) for header, data in _nal_units(unit) if header.layer_id == self._layer]
        shared, self._shared = self._shared, {}
        return b"".join(part for nal in (*shared.values(), *own) for part in (b"\0\0\0\1", nal))


def _nal_units(unit: PictureUnit) -> Iterator[tuple[NalHeader, memoryview]]:
    for nal, header in zip(unit.units, unit.headers, strict=True):
        if header is not None:
            yield header, nal.data


def _alone(header: NalHeader, data: memoryview) -> bytes:
    if not header.layer_id:
        return bytes(data)
    return replace(header, layer_id=0).to_bytes() + data[header.size :]
