"""From learned differences to the payload that pays most: step sizes by real distortion and real NNC bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nnpf import describe
from nnpf.adapt.clip import ClipPicture
from nnpf.adapt.measure import Gain, Receiver, gain
from nnpf.adapt.price import Price
from nnpf.errors import NnpfError
from nnpf.metrics import Difference
from nnpf.model import Model
from nnpf.nnc import Decoder, Encoder, NncError, Settings
from nnpf.nnc.quantization import coded_range, quantization_parameter, slope_of
from nnpf.sources import Base, ModelSources, apply_update
from vsei import edit, messages, selection
from vsei.edit import Placement
from vsei.grouping import PictureStart
from vsei.messages import NnpfCharacteristics
from vsei.messages.nnpf import MODE_NNC
from vsei.nal import Codec

Floats = npt.NDArray[np.float32]

# dB per unit of loss; see `nnpf.adapt.fit`.
_DB: Final = 10 / math.log(10)
_DENSITY: Final = 2
# An element counts at most and at least so much of the mean when levels are chosen: estimates are noisy.
_WEIGHT_RANGE: Final = (0.01, 100.0)
# Quantisation parameters between tries: first coarse, then fine. Four double the step.
_STRIDES: Final = (4, 2, 1)
_START_CODE_BYTES: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """An update as it would be sent.

    Attributes:
        payload: the NNC bitstream.
        message: the NNPFC message that carries it.
        message_bytes: of its SEI NAL unit with start code.
        model: the base with the update applied, as a receiver has it.
        tensors: names of what is sent.
        steps: quantisation step of each of them.
        dependent: those of them that are quantised dependently: each quantiser then has steps twice as large.
        gain: over the base, on the pictures that were looked at.
        net: dB of it that are left after what the bytes cost; of luma alone, if that is less.
    """

    payload: bytes
    message: NnpfCharacteristics
    message_bytes: int
    model: Model
    tensors: tuple[str, ...]
    steps: Mapping[str, float]
    dependent: frozenset[str]
    gain: Gain
    net: float


@dataclass(frozen=True, slots=True)
class _Choice:
    qp: int
    rate_factor: float = 1.0
    dependent: bool = True
    offsets: tuple[tuple[str, int], ...] = ()


class Coder:
    """Codes updates of one base for one segment, and judges them.

    Args:
        pictures: that the gain is measured on, and `before`: what the base gives for them.
        budget: bytes that a payload may have at most.
    """

    def __init__(
        self,
        base: Base,
        message: NnpfCharacteristics,
        receiver: Receiver,
        pictures: Sequence[ClipPicture],
        before: Sequence[Difference],
        price: Price,
        *,
        codec: Codec,
        budget: int | None = None,
    ) -> None:
        self._base, self._message, self._receiver = base, message, receiver
        self._pictures, self._before = pictures, before
        self._price, self._codec, self._budget = price, codec, budget

    def judged(self, payload: bytes, pictures: Sequence[ClipPicture], before: Sequence[Difference]) -> Coded:
        """A payload, decoded and applied as a receiver does it, measured on some pictures.

        Raises:
            NnpfError: the payload does not do to the base what it says.
        """
        message = update_message(self._message, payload)
        model = apply_update(self._base, message, ModelSources())
        decoder = self._base.decoder.copy() if self._base.decoder is not None else Decoder()
        decoder.decode(payload)
        assert decoder.last is not None
        size = message_bytes(message, self._codec)
        found = gain(before, self._receiver.measure(model, pictures))
        net = min(found.combined - self._price.cost(size), found.luma - self._price.luma_cost(size))
        coded = decoder.last.coded
        steps = {tensor.name: tensor.step for tensor in coded if tensor.step is not None}
        dependent = frozenset(tensor.name for tensor in coded if tensor.dependent)
        names = tuple(tensor.name for tensor in coded)
        return Coded(payload, message, size, model, names, steps, dependent, found, net)

    def best(self, deltas: Mapping[str, Floats], curvature: Mapping[str, Floats], *, thorough: bool) -> Coded | None:
        """The payload of these differences with the largest `net`; None where nothing is left of them, or where none
        keeps to the budget.

        Args:
            curvature: see `nnpf.adapt.fit.Fit`.
            thorough: choose the step of each tensor by itself, after the one for all.
        """
        changed = {name: delta for name, delta in deltas.items() if delta.any() and curvature[name].any()}
        if not changed:
            return None
        weights = {name: _weights(curvature[name]) for name in changed}
        mean = sum(float(weights[n].sum()) for n in changed) / sum(delta.size for delta in changed.values())
        tried: dict[_Choice, Coded | None] = {}

        def look(choice: _Choice) -> float:
            if choice not in tried:
                payload = self._encoded(changed, weights, mean, choice)
                within = payload is not None and (self._budget is None or len(payload) <= self._budget)
                tried[choice] = self.judged(payload, self._pictures, self._before) if payload and within else None
            found = tried[choice]
            return -math.inf if found is None else found.net

        low, high = coded_range(_DENSITY)
        start = round(quantization_parameter(self.step(mean) / 2, _DENSITY))
        choice = _Choice(min(max(start, low), high))
        if self._budget is not None:
            while look(choice) == -math.inf and choice.qp + _STRIDES[0] <= high:
                payload = self._encoded(changed, weights, mean, choice)
                if payload is None:
                    break
                choice = replace(choice, qp=choice.qp + _STRIDES[0])
        choice = _climb(choice, look, lambda c, by: replace(c, qp=min(max(c.qp + by, low), high)), _STRIDES)
        variants = [replace(choice, rate_factor=factor) for factor in (0.5, 2.0)]
        variants.append(replace(choice, dependent=False, qp=choice.qp + 2))
        choice = max([choice, *variants], key=look)
        if thorough and len(changed) > 1:
            for name in changed:
                for by in (3, -3):
                    other = replace(choice, offsets=(*choice.offsets, (name, by)))
                    if look(other) > look(choice):
                        choice = other
                        break
        return tried[choice]

    def step(self, curvature: float) -> float:
        """The uniform step at which distortion and rate are in balance, at high rate: D = h step^2 / 12 for each
        element in units of the loss, R = - log2 step in bits."""
        return math.sqrt(6 * self._price.per_byte / (8 * math.log(2) * _DB * curvature))

    def _encoded(
        self, deltas: Mapping[str, Floats], weights: Mapping[str, Floats], mean: float, choice: _Choice
    ) -> bytes | None:
        """The payload; None where all levels are zero."""
        step = 2 ** (choice.qp / 2**_DENSITY)
        # What a bit is worth in squared steps, against what the encoder takes by itself.
        worth = self._price.per_byte / 8 / (_DB * mean * step * step) / slope_of(1.0, choice.dependent)
        offsets: dict[str, int] = {}
        for name, by in choice.offsets:
            offsets[name] = offsets.get(name, 0) + by
        settings = Settings(
            qp=choice.qp,
            tensor_qp={name: choice.qp + by for name, by in offsets.items()},
            qp_density=_DENSITY,
            dependent=choice.dependent,
            rate_distortion=min(choice.rate_factor * worth, 8.0),
        )
        left = dict(deltas)
        while left:
            encoder = Encoder(settings)
            decoder = Decoder()
            if self._base.decoder is not None:
                encoder.follow(self._base.decoder)
                decoder = self._base.decoder.copy()
            try:
                payload = encoder.encode_update(left, importance={name: weights[name] for name in left})
                decoded = decoder.decode(payload)
            except NncError as error:
                raise NnpfError(f"the update cannot be coded: {error}") from None
            zero = [name for name in left if not decoded[name].any()]
            if not zero:
                return payload
            for name in zero:  # a tensor that does not change is not sent
                del left[name]
        return None


def _climb(
    start: _Choice, value: Callable[[_Choice], float], moved: Callable[[_Choice, int], _Choice], strides: Sequence[int]
) -> _Choice:
    """Go uphill, with ever smaller strides."""
    best = start
    for stride in strides:
        for by in (stride, -stride):
            came_on = False
            while value(moved(best, by)) > value(best):
                best = moved(best, by)
                came_on = True
            if came_on:
                break
    return best


def _weights(curvature: Floats) -> Floats:
    """The curvature within bounds around its mean over the elements that matter at all."""
    mean = float(curvature[curvature > 0].mean())
    return np.clip(curvature, _WEIGHT_RANGE[0] * mean, _WEIGHT_RANGE[1] * mean)


def update_message(base: NnpfCharacteristics, payload: bytes) -> NnpfCharacteristics:
    """The NNPFC message that `nnpf inject` makes for an update."""
    identity: dict[str, Any] = {
        "nnpfc_id": base.nnpfc_id,
        "nnpfc_base_flag": 0,
        "nnpfc_purpose": base.nnpfc_purpose,
        "nnpfc_mode_idc": MODE_NNC,
        "nnpfc_payload": payload,
    }
    return describe.characteristics(identity, None, {})


def message_bytes(message: NnpfCharacteristics, codec: Codec) -> int:
    """Bytes that the message adds to a stream where it is put in."""
    placement = Placement(selection.parse("first"), messages.encode(message))
    start = PictureStart(0, 0, 0, 0, True, 0, True)
    return len(edit.nal_unit_of(placement, codec, start)) + _START_CODE_BYTES
