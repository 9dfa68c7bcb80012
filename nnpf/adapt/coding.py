"""From learned differences to the payload that pays most: step sizes by real distortion and real NNC bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from nnpf.nnc.quantization import coded_range, quantization_parameter, step_size
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
DENSITY: Final = 2
# An element counts at most and at least so much of the mean when levels are chosen: estimates are noisy.
_WEIGHT_RANGE: Final = (0.01, 100.0)
# Weights of the rate, for the encoder, when levels are chosen.
_RATES: Final = (0.2,)
# Six octaves of the step: then nothing is left of what was learned.
_MOST_COARSER: Final = 24
_START_CODE_BYTES: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """An update as it would be sent.

    Attributes:
        payload: the NNC bitstream.
        message: the NNPFC message that carries it.
        message_bytes: of its SEI NAL unit with start code.
        model: the base with the update applied, as a receiver has it.
        bytes_of: bytes of each tensor that is sent, with its header.
        steps: quantisation step of each of them.
        measured: the pictures that were looked at, with the update.
        gain: over the base, on these.
        net: dB of it that are left after what the bytes cost; of luma alone, if that is less.
    """

    payload: bytes
    message: NnpfCharacteristics
    message_bytes: int
    model: Model
    bytes_of: Mapping[str, int]
    steps: Mapping[str, float]
    measured: Sequence[Difference]
    gain: Gain
    net: float

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(self.bytes_of)


@dataclass(frozen=True, slots=True)
class _Choice:
    """How to code: by how much coarser than in the loop (in units of the quantisation parameter), with which weight of
    the rate, and which tensors are left out."""

    by: int = 0
    rate: float = 0.0
    left_out: frozenset[str] = frozenset()


class Coder:
    """Codes updates of one base for one segment, and judges them.

    Args:
        pictures: that the gain is measured on, and `before`: what the base gives for them.
        budget: bytes that a payload may have at most.
        threads: of the CPU.
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
        threads: int = 1,
    ) -> None:
        self._base, self._message, self._receiver = base, message, receiver
        self._pictures, self._before = pictures, before
        self._price, self._codec, self._budget, self._threads = price, codec, budget, threads

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
        measured = self._receiver.measure(model, pictures)
        found = gain(before, measured)
        net = min(found.combined - self._price.cost(size), found.luma - self._price.luma_cost(size))
        coded = decoder.last.coded
        steps = {tensor.name: tensor.step for tensor in coded if tensor.step is not None}
        bytes_of = {tensor.name: tensor.unit_bytes for tensor in coded}
        return Coded(payload, message, size, model, bytes_of, steps, measured, found, net)

    def exact(self, deltas: Mapping[str, Floats], parameters: Mapping[str, int]) -> Coded | None:
        """The update whose levels are the differences, rounded, as they were in the loop of the fit; None where all are
        zero.

        Args:
            parameters: quantisation parameter of each tensor.
        """
        payload = self._encoded(deltas, _Choice(), parameters)
        return None if payload is None else self.judged(payload, self._pictures, self._before)

    def best(
        self, deltas: Mapping[str, Floats], curvature: Mapping[str, Floats], parameters: Mapping[str, int]
    ) -> Coded | None:
        """The payload of these differences with the largest `net`; None where nothing is left of them, or where none
        keeps to the budget.

        The steps of the fit are kept: the differences were learned with them. They get coarser only to keep to a
        budget. Levels are chosen by rate, and tensors left out whose bytes are worth more than they do.

        Args:
            curvature: see `nnpf.adapt.fit.Fit`.
            parameters: quantisation parameters that were in the loop.
        """
        weights = {name: h for name, h in curvature.items() if h.any()}
        tried: dict[_Choice, Coded | None] = {}

        def look(choice: _Choice) -> float:
            if choice not in tried:
                payload = self._encoded(deltas, choice, parameters, weights)
                within = payload is not None and (self._budget is None or len(payload) <= self._budget)
                tried[choice] = self.judged(payload, self._pictures, self._before) if payload and within else None
            found = tried[choice]
            return -math.inf if found is None else found.net

        choice = _Choice()
        if self._budget is not None:
            # Coarser until it fits, or until nothing is left.
            while look(choice) == -math.inf and choice.by < _MOST_COARSER:
                choice = replace(choice, by=choice.by + 1)
        choice = max([choice, *(replace(choice, rate=rate) for rate in _RATES)], key=look)
        found = tried[choice]
        if found is None:
            return None
        small = [name for name in found.tensors if self._does_little(name, found, curvature)]
        if 0 < len(small) < len(found.tensors):
            choice = max([choice, replace(choice, left_out=frozenset(small))], key=look)
        return tried[choice]

    def _does_little(self, name: str, coded: Coded, curvature: Mapping[str, Floats]) -> bool:
        """Whether what a tensor changes is worth less than its bytes, as far as the curvature tells: what was learned
        together is not worth the sum of its parts, so this only says what to try."""
        change = coded.model.parameters[name] - self._base.model.parameters[name]
        gained = _DB * float((curvature[name] * change * change).sum())
        return gained < self._price.per_byte * coded.bytes_of[name]

    def parameter(self, curvature: float, multiple: float) -> int:
        """The quantisation parameter of a tensor whose elements matter so much: at a multiple of the uniform step at
        which distortion and rate are in balance at high rate, where D = h step^2 / 12 for each element in units of
        the loss, and R = - log2 step in bits."""
        h = max(curvature, float(np.finfo(np.float32).tiny))
        step = multiple * math.sqrt(6 * self._price.per_byte / (8 * math.log(2) * _DB * h))
        low, high = coded_range(DENSITY)
        return min(max(round(quantization_parameter(step, DENSITY)), low), high)

    def _encoded(
        self,
        deltas: Mapping[str, Floats],
        choice: _Choice,
        parameters: Mapping[str, int],
        weights: Mapping[str, Floats] | None = None,
    ) -> bytes | None:
        """The payload; None where all levels are zero."""
        low, high = coded_range(DENSITY)
        left: dict[str, Floats] = {}
        for name, delta in deltas.items():
            if name in choice.left_out:
                continue
            step = step_size(parameters[name], DENSITY)
            # What the loop of the fit had: its zeros were zeros there too.
            left[name] = (np.round(delta / step) * step).astype(np.float32)
        tensor_qp = {name: min(max(parameters[name] + choice.by, low), high) for name in left}
        settings = Settings(
            tensor_qp=tensor_qp,
            qp_density=DENSITY,
            dependent=False,  # the loop of the fit knows uniform quantisation only
            rate_distortion=choice.rate,
            threads=self._threads,
        )
        left = {name: value for name, value in left.items() if value.any()}
        while left:
            encoder = Encoder(settings)
            decoder = Decoder()
            if self._base.decoder is not None:
                encoder.follow(self._base.decoder)
                decoder = self._base.decoder.copy()
            importance = None
            if choice.rate and weights is not None:
                # By element only: the steps already tell how much a tensor matters.
                importance = {n: w / float(w.mean()) for n, w in ((n, _weights(weights[n])) for n in left)}
            try:
                payload = encoder.encode_update(left, importance=importance)
                decoded = decoder.decode(payload)
            except NncError as error:
                raise NnpfError(f"the update cannot be coded: {error}") from None
            zero = [name for name in left if name not in decoded or not decoded[name].any()]
            if not zero:
                return payload
            for name in zero:  # a tensor that does not change is not sent
                del left[name]
        return None


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
