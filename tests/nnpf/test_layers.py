"""Streams of several layers, as the reference software writes them; and 16 bits, beyond FFmpeg too."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnpf
from nnpf.decoder_program import decoded_by
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.intake import announced_pictures
from nnpf.layer_data import LayerData
from nnpf.runner import ApplyOptions, apply
from nnpf.sources import ModelSources
from tests.nnpf.streams import md5, nal_units
from tests.nnpf.test_decoder_program import script
from vsei.annexb import NalUnit, split
from vsei.errors import VseiError
from vsei.listing import sei_messages
from vsei.nal import Codec, NalHeader, Vvc, read_header
from vsei.pictures import picture_units
from vsei.vvc.nal_units import HeaderState

VECTORS = Path(__file__).parent / "vectors"
DEPENDENT, INDEPENDENT = VECTORS / "two_layers_dependent.266", VECTORS / "two_layers_independent.266"
SIXTEEN_BITS = VECTORS / "sixteen_bits.266"
DEEP = Format(208, 120, 1, 16, 16)
PARAMETER_SETS = (Vvc.SPS, Vvc.PPS, Vvc.PREFIX_APS)


@pytest.fixture
def tint(samples: Path) -> Path:
    return samples / "filters/tint_red.onnx"


def shown(units: Iterable[NalUnit], layer_id: int) -> list[tuple[str, int, str]]:
    """Size, POC and hash check of each picture of a layer."""
    with apply(units, Codec.VVC, ApplyOptions(layer_id=layer_id)) as pictures:
        return [
            (f"{one.frame.format.width}x{one.frame.format.height}", one.record.poc, one.record.hash_check)
            for one in pictures
        ]


@pytest.mark.parametrize(
    ("path", "layer", "size"), [(DEPENDENT, 0, "208x120"), (INDEPENDENT, 0, "208x120"), (INDEPENDENT, 1, "104x64")]
)
def test_a_layer_that_needs_no_other_is_decoded(path: Path, layer: int, size: str) -> None:
    assert shown(nal_units(path), layer) == [(size, poc, "matches") for poc in range(5)]


def header_of(unit: NalUnit) -> NalHeader:
    return read_header(Codec.VVC, unit.data)


@pytest.mark.parametrize("nuh_layer_id", [0, 1])
def test_layers_share_parameter_sets(nuh_layer_id: int) -> None:
    """Those of layer 1 come with the picture of layer 0."""

    def early(unit: NalUnit) -> bool:
        return header_of(unit).layer_id == 1 and header_of(unit).nal_unit_type in PARAMETER_SETS

    units = list(nal_units(INDEPENDENT))
    moved = [
        unit._replace(data=memoryview(replace(header_of(unit), layer_id=nuh_layer_id).to_bytes() + unit.data[2:]))
        for unit in units
        if early(unit)
    ]
    assert len(moved) > 1
    at = next(i for i, unit in enumerate(units) if header_of(unit).nal_unit_type == Vvc.IDR_N_LP)
    changed = [*units[:at], *moved, *(unit for unit in units[at:] if not early(unit))]
    for layer in (0, 1):
        assert shown(changed, layer) == shown(units, layer)


def test_shared_parameter_sets_do_not_pile_up() -> None:
    """A layer whose pictures have ended is no reason to keep those of the others for ever."""
    first, second, *_ = picture_units(nal_units(INDEPENDENT), Codec.VVC)
    once, often = (LayerData(Codec.VVC, 1) for _ in range(2))
    once.skip(first)
    for _ in range(100):
        often.skip(first)
    assert second.picture is not None
    assert once.of(second, second.picture) == often.of(second, second.picture)


def test_a_layer_that_is_predicted_from_another_wants_another_decoder() -> None:
    with pytest.raises(NnpfError, match=r"layer 1 is predicted from other layers.*--decoder DecoderApp"):
        shown(nal_units(DEPENDENT), 1)


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(NnpfError, match="the stream has no picture of layer 2"):
        shown(nal_units(INDEPENDENT), 2)


@pytest.mark.parametrize(("path", "count"), [(DEPENDENT, 2), (INDEPENDENT, 2), (SIXTEEN_BITS, 0)])
def test_the_output_layer_sets_of_the_vps(path: Path, count: int) -> None:
    """Each of these outputs one layer: the highest one, or its only one."""
    state = HeaderState()
    for unit in nal_units(path):
        if header_of(unit).nal_unit_type == Vvc.VPS:
            state.take(header_of(unit), unit.data)
    sets = [layers for vps in state.sets.vps.values() for layers in vps.output_layers]
    assert sets == [{layer} for layer in range(count)]


def vtm(folder: Path, name: str, pictures_bytes: int, asked: str) -> str:
    """A program with the name of VTM's that writes zeros to a file of that name, if it is asked as it should be."""
    where = f"output.replace('.yuv', {name!r})"
    written = f"open({where}, 'wb').write(bytes({pictures_bytes}))"
    program = Path(script(folder, f"assert ' '.join(sys.argv[5:]) == {asked!r}, sys.argv\n{written}"))
    return str(program.rename(folder / "DecoderApp"))


@pytest.mark.parametrize(
    ("path", "layer", "name", "asked", "size"),
    [
        (DEPENDENT, 0, ".layer0.yuv", "-d 0 -p 0", 208 * 120),
        (DEPENDENT, 1, ".layer1.yuv", "-d 0 -p 1", 416 * 240),
        (INDEPENDENT, 1, ".layer1.yuv", "-d 0 -p 1", 104 * 64),
        (SIXTEEN_BITS, 0, ".yuv", "-d 0", 208 * 120),
    ],
)
def test_vtm_is_asked_for_the_layer(tmp_path: Path, path: Path, layer: int, name: str, asked: str, size: int) -> None:
    """It writes each layer to a file of its own where the stream has several."""
    program = vtm(tmp_path, name, 5 * size * 3, asked)
    options = ApplyOptions(layer_id=layer, check_hashes=False)
    with (
        decoded_by(program, nal_units(path), Codec.VVC, layer_id=layer) as source,
        apply(nal_units(path), Codec.VVC, options, decoded=source) as pictures,
    ):
        assert [one.frame.format.width * one.frame.format.height for one in pictures] == [size] * 5


def test_vtm_has_no_output_layer_set_for_a_layer(tmp_path: Path) -> None:
    program = vtm(tmp_path, ".yuv", 0, "")
    with (
        pytest.raises(NnpfError, match="no output layer set of the stream outputs layer 3"),
        decoded_by(program, nal_units(DEPENDENT), Codec.VVC, layer_id=3),
    ):
        pass


def injected(folder: Path, stream: Path, base: Path, layer_id: int | None, **options: Any) -> list[NalUnit]:
    nnpf.inject(stream, folder / "out.266", base=base, layer_id=layer_id, **options)
    return list(nal_units(folder / "out.266"))


def active(units: Iterable[NalUnit], layer_id: int) -> list[list[int]]:
    """nnpfc_id of the filters in force for each picture of a layer."""
    pictures = announced_pictures(units, Codec.VVC, layer_id=layer_id)
    return [[one.nnpfc_id for one in picture.active] for picture in pictures]


@pytest.mark.parametrize("path", [DEPENDENT, INDEPENDENT])
@pytest.mark.parametrize("chosen", [0, 1, None])
def test_a_filter_for_one_layer(tint: Path, tmp_path: Path, path: Path, chosen: int | None) -> None:
    units = injected(tmp_path, path, tint, chosen)
    for layer in (0, 1):
        assert active(units, layer) == [[1] if chosen in (None, layer) else []] * 5


def test_pictures_are_counted_in_their_layer(tint: Path, tmp_path: Path) -> None:
    units = injected(tmp_path, INDEPENDENT, tint, 1, repeat="first", activate_at="output:3")
    assert active(units, 1) == [[], [], [], [1], [1]]
    assert active(units, 0) == [[]] * 5


def test_a_layer_to_inject_into_that_is_not_there(tint: Path, tmp_path: Path) -> None:
    with pytest.raises(VseiError, match="the stream has no picture random_access of layer 2"):
        injected(tmp_path, INDEPENDENT, tint, 2)
    assert not (tmp_path / "out.266").exists()


def test_a_layer_is_filtered(tint: Path, tmp_path: Path) -> None:
    units = injected(tmp_path, INDEPENDENT, tint, 1)
    options = ApplyOptions(layer_id=1, sources=ModelSources(tint.parent))
    with apply(units, Codec.VVC, options) as pictures:
        found = list(pictures)
    assert [len(one.record.applied) for one in found] == [1] * 5
    assert all((one.frame.planes[2] > one.decoded.planes[2]).any() for one in found)  # more red


def test_sixteen_bits_are_filtered(tint: Path, tmp_path: Path) -> None:
    units = injected(tmp_path, SIXTEEN_BITS, tint, None)
    with pytest.raises(NnpfError, match=r"FFmpeg, vvc\) stopped at picture 0.*give decoded pictures as YUV"):
        shown(units, 0)
    grey = Frame(tuple(np.full(shape, 1 << 15, np.uint16) for shape in ((120, 208), (60, 104), (60, 104))), DEEP)
    options = ApplyOptions(sources=ModelSources(tint.parent), check_hashes=False)
    frames = iter([grey] * 5)
    with apply(units, Codec.VVC, options, decoded=lambda _: next(frames, None)) as pictures:
        found = [one.frame for one in pictures]
    assert {frame.format for frame in found} == {DEEP}
    assert all(int(frame.planes[2][30, 52]) > 1 << 15 for frame in found)


ALPHA = VECTORS / "alpha.265"


def test_the_base_layer_of_hevc_is_decoded_beside_alpha() -> None:
    """x265 repeats parameter sets between the layers of a picture."""
    whole = list(nal_units(ALPHA))
    base = [unit for unit in whole if not read_header(Codec.HEVC, unit.data).layer_id]
    assert len(base) < len(whole)
    frames = []
    for units in (base, whole):
        with apply(units, Codec.HEVC, ApplyOptions()) as pictures:
            frames.append(md5(shown.frame for shown in pictures))
    assert frames[0] == frames[1]


@pytest.mark.parametrize("at", ["random_access", "first", "segments", "all"])
def test_messages_go_to_the_base_layer_of_hevc(tint: Path, tmp_path: Path, at: str) -> None:
    nnpf.inject(ALPHA, tmp_path / "out.265", base=tint, repeat="first", activate_at=at)
    found = sei_messages(split([(tmp_path / "out.265").read_bytes()]), Codec.HEVC)
    layers = [one.header.layer_id for one in found if one.name in ("nnpfc", "nnpfa")]
    assert set(layers) == {0}
    assert len(layers) > 1
    with pytest.raises(NnpfError, match="several layers, which only FFmpeg puts into containers"):
        nnpf.inject(ALPHA, tmp_path / "out.mp4", base=tint)
