"""The fast patch process equals the loops of the standard, whatever the settings."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nnpf.arrays import NUMPY
from nnpf.errors import NnpfError
from nnpf.frames import SUBSAMPLING, Format
from nnpf.patch_sizes import choose_patch
from nnpf.tensors import PatchPlan, PatchProcess
from tests.nnpf import reference
from tests.nnpf.test_frames import picture

Array = np.ndarray[Any, Any]


@st.composite
def processes(draw: st.DrawFn) -> tuple[PatchProcess, tuple[int, int]]:
    """Legal settings for small pictures, and a patch (rows, columns) that is legal with them."""
    inp_order = draw(st.integers(0, 3))
    chroma = 1 if inp_order == 3 else draw(st.integers(0 if inp_order == 0 else 1, 3))
    sub_w, sub_h = SUBSAMPLING[chroma]
    width, height = sub_w * draw(st.integers(1, 9 // sub_w)), sub_h * draw(st.integers(1, 9 // sub_h))
    depths = st.sampled_from([8, 8, 9, 10, 12, 16])
    inp = Format(width, height, chroma, draw(depths), draw(depths))

    # The order of the output, and its chroma format: upsampling and colourization change it.
    if inp_order == 0 and chroma == 0:
        out_order, out_chroma = draw(st.sampled_from([(0, 0), (1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1)]))
    elif inp_order == 1:
        out_order, out_chroma = 1, draw(st.sampled_from([c for c in (1, 2, 3) if c >= chroma]))
    elif inp_order == 3:
        out_order, out_chroma = draw(st.sampled_from([(3, 1), (3, 1), (2, 1), (2, 3), (0, 1), (1, 1)]))
    else:
        out_order = draw(st.sampled_from([0, 2, 2, 2, 1]))
        out_chroma = chroma if out_order == 0 else draw(st.sampled_from([c for c in (1, 2, 3) if c >= max(chroma, 1)]))
    out_sub_w, out_sub_h = SUBSAMPLING[out_chroma]

    patch = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    ratios = st.sampled_from([Fraction(1), Fraction(1), Fraction(2), Fraction(3, 2), Fraction(1, 2), Fraction(4, 3)])
    out_height, out_width = height * draw(ratios), width * draw(ratios)
    assume(out_width % out_sub_w == 0 and out_height % out_sub_h == 0)
    out = Format(int(out_width), int(out_height), out_chroma, draw(depths), draw(depths))
    # Planes that the filter does not make are taken over: they must suit.
    if out_order == 0 and out_chroma:
        assume(out.shapes[1] == inp.shapes[1] if chroma else False)
        out = Format(out.width, out.height, out_chroma, out.bit_depth_luma, inp.bit_depth_chroma)
    if out_order == 1:
        assume(out.shapes[0] == inp.shapes[0])
        out = Format(out.width, out.height, out_chroma, inp.bit_depth_luma, out.bit_depth_chroma)

    process = PatchProcess(
        inp=inp,
        out=out,
        inp_order_idc=inp_order,
        out_order_idc=out_order,
        inp_format_idc=draw(st.integers(0, 1)),
        out_format_idc=draw(st.integers(0, 1)),
        inp_tensor_bit_depths=(draw(st.integers(8, 20)), draw(st.integers(8, 20))),
        out_tensor_bit_depths=(draw(st.integers(8, 20)), draw(st.integers(8, 20))),
        component_last=draw(st.booleans()),
        strength=draw(st.booleans()),
        num_input_pics=draw(st.sampled_from([1, 1, 2, 3])),
        num_output_pics=draw(st.sampled_from([1, 1, 2])),
        overlap=draw(st.sampled_from([0, 1, 2, 5])),
        constant_patch_size=True,
        patch_height=patch[0],
        patch_width=patch[1],
        padding_type=draw(st.integers(0, 4)),
        padding_values=(draw(st.integers(0, 255)), draw(st.integers(0, 255)), draw(st.integers(0, 255))),
    )
    assume(process.out_patch(patch) is not None)
    assume(all(size > 0 for size in process.out_patch(patch) or (0,)))
    return process, patch


def mixing_filter(process: PatchProcess, patch: tuple[int, int]) -> Callable[[Array], Array]:
    """(picture, channel, row, column) to the same of the output; every sample of the patch has its part."""
    rng = np.random.default_rng(7)
    out_patch = process.out_patch(patch)
    assert out_patch is not None
    margin = 2 * process.overlap
    spatial = rng.random((*out_patch, patch[0] + margin, patch[1] + margin)) ** 8
    across = (
        rng.random((process.num_output_pics, process.out_channels, process.num_input_pics, process.inp_channels)) ** 2
    )
    spatial /= spatial.sum(axis=(2, 3), keepdims=True)
    across *= 1.2 / across.sum(axis=(2, 3), keepdims=True)  # some values come out above 1 and are clipped

    def run(tensor: Array) -> Array:
        # The inputs are rounded to float32 first, so that fast and slow code mix the same numbers.
        values = np.einsum("pcij,yxij,oqpc->oqyx", tensor.astype(np.float32).astype(np.float64), spatial, across)
        if process.inp_format_idc == 1:
            values /= 2 ** max(process.inp_tensor_bit_depths) - 1
        values -= 0.02
        if process.out_format_idc == 1:
            values = np.floor(values * (2 ** min(process.out_tensor_bit_depths) - 1))
        return values.astype(np.float32)

    return run


def canonical(process: PatchProcess, tensor: Array, rank: int, pictures: int) -> Array:
    """A network's batch as (batch, picture, channel, row, column), by the layouts of the notes, item by item."""
    if rank == 5:
        return np.stack([t.transpose(0, 3, 1, 2) for t in tensor]) if process.component_last else tensor
    if process.component_last:
        tensor = np.stack([t.transpose(2, 0, 1) for t in tensor])
    return np.stack([np.stack(np.split(t, pictures)) for t in tensor])


def network_layout(process: PatchProcess, outputs: list[Array], rank: int) -> Array:
    items = []
    for output in outputs:
        item = output if rank == 5 else np.concatenate(list(output))
        if process.component_last:
            item = item.transpose(0, 2, 3, 1) if rank == 5 else item.transpose(1, 2, 0)
        items.append(item)
    return np.stack(items)


@given(processes(), st.sampled_from([4, 5]), st.sampled_from([4, 5]), st.integers(1, 9), st.integers(0, 9))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_the_fast_process_equals_the_loops(
    case: tuple[PatchProcess, tuple[int, int]], rank: int, out_rank: int, max_batch: int, seed: int
) -> None:
    process, patch = case
    pictures = [picture(process.inp, seed + at) for at in range(process.num_input_pics)]
    strengths = [Fraction(seed + at, 12) for at in range(process.num_input_pics)]
    run = mixing_filter(process, patch)
    wanted: list[Array] = []
    found: list[Array] = []

    def slow(tensor: Array) -> Array:
        wanted.append(tensor)
        return run(tensor)

    def fast(batch: Array) -> Array:
        assert len(batch) <= max_batch
        tensors = canonical(process, batch, rank, process.num_input_pics)
        found.extend(tensors)
        return network_layout(process, [run(tensor) for tensor in tensors], out_rank)

    dtype = np.float32 if process.inp_format_idc == 0 else np.int32
    plan = PatchPlan(process, patch, rank=rank, dtype=dtype)
    into = plan.new_input()
    into[...] = 77  # what pack does not fill would show
    output = plan.run(fast, plan.pack(pictures, strengths, into), max_batch=max_batch)
    frames = plan.store(output, [pictures[0]] * process.num_output_pics)
    expected = reference.process(process, patch, slow, pictures, strengths, reference.out_exact)

    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one, other.astype(dtype))
    for frame, planes in zip(frames, expected, strict=True):
        assert frame.format == process.out
        for at, (plane, exact) in enumerate(zip(frame.planes, planes, strict=True)):
            if exact is None:
                assert np.array_equal(plane, pictures[0].planes[at])
                continue
            assert not np.isnan(exact).any()
            highest = 2 ** process.out.bit_depths[at] - 1
            clipped = np.clip(exact, 0, highest)
            if process.out_format_idc == 1:
                assert np.array_equal(plane, np.minimum(np.floor(clipped + 0.5), highest))
            else:
                # float32 may go either way within its own precision of a half.
                assert (np.abs(plane - clipped) <= 0.5 + highest * 2.0**-22).all()


@given(
    processes(),
    st.sampled_from([4, 5]),
    st.integers(1, 9),
    st.integers(0, 9),
    st.sampled_from([np.float32, np.float32, np.float16, np.float64]),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_torch_gives_the_bits_that_numpy_gives(
    case: tuple[PatchProcess, tuple[int, int]], rank: int, max_batch: int, seed: int, real: type[np.floating[Any]]
) -> None:
    """What pictures go through on a GPU, on torch's CPU."""
    torch = pytest.importorskip("torch")
    from nnpf.engines.torch_arrays import TorchArrays

    process, patch = case
    pictures = [picture(process.inp, seed + at) for at in range(process.num_input_pics)]
    strengths = [Fraction(seed + at, 12) for at in range(process.num_input_pics)]
    run = mixing_filter(process, patch)

    def network(batch: Any) -> Any:
        given = batch if isinstance(batch, np.ndarray) else batch.numpy()
        outputs = [run(tensor) for tensor in canonical(process, given, rank, process.num_input_pics)]
        result = network_layout(process, outputs, rank)
        return result if isinstance(batch, np.ndarray) else torch.from_numpy(result)

    packed, outputs, stored = [], [], []
    for arrays in (NUMPY, TorchArrays(torch.device("cpu"))):
        dtype = real if process.inp_format_idc == 0 else np.int32
        plan = PatchPlan(process, patch, rank=rank, dtype=dtype, arrays=arrays)
        with arrays.at_work():
            into = plan.new_input()
            into[...] = 77
            tensor = plan.pack(pictures, strengths, into)
            output = plan.run(network, tensor, max_batch=max_batch, fixed_batch=bool(seed & 1))
            stored.append(plan.store(output, [pictures[0]] * process.num_output_pics))
        packed.append(np.asarray(tensor))
        outputs.append(np.asarray(output))
    assert packed[1].dtype == packed[0].dtype
    assert np.array_equal(packed[0], packed[1])
    assert np.array_equal(outputs[0], outputs[1])
    for one, other in zip(*stored, strict=True):
        assert one.format == other.format
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


@pytest.mark.parametrize("depth", [10, 12, 16])
def test_samples_become_half_precision_after_the_division(depth: int) -> None:
    """As float16 a sample of 16 bits is infinite, and one of 12 bits has lost its last."""
    torch = pytest.importorskip("torch")
    from nnpf.engines.torch_arrays import TorchArrays

    peak = (1 << depth) - 1
    samples = np.arange(0, peak + 1, 1 + peak // 5000, dtype=np.uint16)
    expected = (samples / np.float32(peak)).astype(np.float16)
    into = np.empty(samples.shape, np.float16)
    NUMPY.real_input(samples, peak, into)
    assert np.array_equal(into, expected)
    there = torch.empty(samples.shape, dtype=torch.float16)
    TorchArrays(torch.device("cpu")).real_input(torch.from_numpy(samples.astype(np.int32)), peak, there)
    assert np.array_equal(there.numpy(), expected)


def formats(width: int = 16, height: int = 8) -> dict[str, Any]:
    return {"inp": Format(width, height), "out": Format(width, height)}


def test_a_whole_picture_is_one_patch_without_a_copy() -> None:
    order = {"inp_order_idc": 3, "out_order_idc": 3}
    process = PatchProcess(**formats(), **order, overlap=2, patch_width=8, patch_height=4, strength=True)
    patch = choose_patch(process, max_positions=1 << 20)
    assert patch == (4, 8)
    plan = PatchPlan(process, patch)
    tensor = plan.new_input()
    assert tensor.shape == (1, 7, 8, 12)
    assert plan.extract(tensor, (slice(0, 1), slice(0, 1))) is tensor


def test_a_network_with_another_output_is_refused() -> None:
    process = PatchProcess(**formats(), overlap=1)
    plan = PatchPlan(process, (8, 16))
    tensor = plan.pack([picture(process.inp)], [Fraction(0)], plan.new_input())
    with pytest.raises(NnpfError, match=r"gives \[1, 3, 10, 18\] for \[1, 3, 10, 18\], \[1, 3, 8, 16\] is wanted"):
        plan.run(lambda batch: batch, tensor)


def test_values_are_rounded_and_clipped_and_never_wrap() -> None:
    form = Format(6, 1, 0, 10, 10)
    process = PatchProcess(inp=form, out=form, inp_order_idc=0, out_order_idc=0)
    plan = PatchPlan(process, (1, 6))
    values = np.array([-9, 0.49 / 1023, 0.51 / 1023, 511.6 / 1023, 1, np.inf], np.float32).reshape(1, 1, 1, 6)
    assert plan.store(values, [None])[0].planes[0].tolist() == [[0, 0, 1, 512, 1023, 1023]]
    with pytest.raises(NnpfError, match="NaN"):
        plan.store(values * np.nan, [None])


@pytest.mark.filterwarnings("error")
def test_a_picture_in_float16_may_have_any_sum() -> None:
    form = Format(512, 256, 0, 10, 10)
    process = PatchProcess(inp=form, out=form, inp_order_idc=0, out_order_idc=0)
    plan = PatchPlan(process, (256, 512))
    values = np.ones((1, 1, 256, 512), np.float16)
    assert (plan.store(values, [None])[0].planes[0] == 1023).all()
    values[0, 0, 3, 4] = np.nan
    with pytest.raises(NnpfError, match="NaN"):
        plan.store(values, [None])


@pytest.mark.parametrize(
    ("settings_", "reason"),
    [
        ({"inp_order_idc": 4}, "input order 4 is reserved"),
        ({"padding_type": 5}, "padding type 5 is reserved"),
        ({"padding_type": 4, "padding_values": (0, 0, 256)}, "the padding value 256 is no sample of 8 bits"),
        ({"out": Format(16, 8, 3), "out_order_idc": 3}, "order 3 is for 4:2:0"),
        ({"inp": Format(16, 8, 0)}, "input order 2 needs chroma"),
        ({"out_format_idc": 9}, "reserved"),
        ({"patch_width": 0}, "at least 1"),
    ],
)
def test_settings_that_the_standard_does_not_have(settings_: dict[str, Any], reason: str) -> None:
    with pytest.raises(NnpfError, match=reason):
        PatchProcess(**{**formats(), **settings_})


def test_number_formats_must_suit_the_network() -> None:
    with pytest.raises(NnpfError, match="real numbers, the network takes uint8"):
        PatchPlan(PatchProcess(**formats()), (8, 16), dtype=np.uint8)
    process = PatchProcess(**formats(), inp_format_idc=1, inp_tensor_bit_depths=(10, 10))
    PatchPlan(process, (8, 16), dtype=np.uint16)
    with pytest.raises(NnpfError, match="integers of 10 bits, the network takes int8"):
        PatchPlan(process, (8, 16), dtype=np.int8)


def test_a_plane_that_cannot_be_taken_over_is_named() -> None:
    process = PatchProcess(inp=Format(4, 4), out=Format(8, 8), inp_order_idc=0, out_order_idc=0)
    plan = PatchPlan(process, (4, 4))
    with pytest.raises(NnpfError, match="makes no chroma"):
        plan.store(np.zeros((1, 1, 8, 8), np.float32), [picture(Format(4, 4))])
