"""Which filter, base or updated, is in force for which picture: H.274 8.28.1.2 and 8.28.2.2.

Messages come with their pictures in decoding order; what they mean is a matter of output order. Inside a CLVS output
order is POC order, so that each rule is a look at what stands at or before a POC. Nothing is computed ahead.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nnpf.characteristics import furthest_output, num_input_pics, out_of_range
from vsei import messages as sei_messages
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.nnpf import reserved_value
from vsei.messages.processing_order import SeiProcessingOrder

# A hostile stream could name a new nnpfc_id in every message. The standard's own bound on filters that are active at a
# time is far below.
MAX_FILTERS_PER_CLVS = 1024

T = TypeVar("T")
# A processing order message, the messages of a filter that it may name, and its place for it.
Listed = tuple[SeiProcessingOrder | None, tuple[Message, Message], int]


@dataclass(frozen=True, slots=True)
class Active:
    """A filter that is in force for a picture.

    Attributes:
        base: the NNPFC with nnpfc_base_flag 1; its properties are those of its updates.
        update: the NNPFC with nnpfc_base_flag 0 that is in force and asked for, relative to the base.
        activation: the NNPFA that put it in force, of this picture or of an earlier one in output order.
        prompt, seed: in force for filters that take them; from the NNPFC or an NNPFA.
        rank: its place in the order of application, the same for the whole CLVS: by po_sei_processing_order, then by
            the first message with its id.
    """

    nnpfc_id: int
    base: NnpfCharacteristics
    update: NnpfCharacteristics | None
    activation: NnpfActivation
    prompt: str | None = None
    seed: int | None = None
    rank: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Known:
    """A filter that may come into force, and needs preparation for it.

    Attributes:
        rank: see `Active`, as far as is known.
        inputs: how many input pictures it takes.
        reach: see `nnpf.characteristics.furthest_output`.
    """

    rank: tuple[int, int]
    inputs: int
    reach: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What applies to one picture, in the order to apply it, and why other messages do not.

    The order is that of an SEI processing order message of the CLVS where there is one, else that of the bitstream.

    `known`: filters of several input pictures that the bitstream has announced so far, for this CLVS and those after.
    """

    active: tuple[Active, ...]
    reasons: tuple[str, ...] = ()
    known: tuple[Known, ...] = ()


class Timeline(Generic[T]):
    """Values that hold from a POC on."""

    __slots__ = ("_pocs", "_values")

    def __init__(self) -> None:
        self._pocs: list[int] = []
        self._values: list[T] = []

    def put(self, poc: int, value: T) -> None:
        at = bisect.bisect_left(self._pocs, poc)
        if at < len(self._pocs) and self._pocs[at] == poc:
            self._values[at] = value  # the later message of one picture
        else:
            self._pocs.insert(at, poc)
            self._values.insert(at, value)

    def at(self, poc: int) -> tuple[int, T] | None:
        """The value that holds at a POC, and since when. What came before it is forgotten: POCs are asked in order."""
        index = bisect.bisect_right(self._pocs, poc) - 1
        if index < 0:
            return None
        del self._pocs[:index], self._values[:index]
        return self._pocs[0], self._values[0]

    def last(self) -> T | None:
        """The value with the highest POC so far."""
        return self._values[-1] if self._values else None


@dataclass(slots=True)
class _Filter:
    """What is known of one nnpfc_id in one CLVS. Each activation is kept with the decoding index of its picture."""

    order: int  # of its first activation in the bitstream
    base: tuple[int, NnpfCharacteristics] | None = None  # and the decoding index of its picture
    updates: Timeline[NnpfCharacteristics] = field(default_factory=Timeline)
    activations: Timeline[tuple[int, NnpfActivation]] = field(default_factory=Timeline)
    prompts: Timeline[str] = field(default_factory=Timeline)
    seeds: Timeline[int] = field(default_factory=Timeline)
    listed: Listed | None = None


class ActivationState:
    """Feed it every picture in decoding order with `take`, and ask with `decide` for each one that is output, in output
    order, when all pictures before it in decoding order have been taken."""

    def __init__(self) -> None:
        self._clvss: dict[int, dict[int, _Filter]] = {}
        self._reasons: dict[tuple[int, int], list[str]] = {}  # by CLVS and decoding index
        self._processing_orders: dict[int, SeiProcessingOrder] = {}  # by CLVS

    def take(self, *, decode_index: int, clvs: int, poc: int, messages: Iterable[Message]) -> None:
        """The messages of one picture unit, in bitstream order. NNPFC, NNPFA and SEI processing order matter."""
        reasons: list[str] = []
        for message in messages:
            if isinstance(message, SeiProcessingOrder):
                # The same for the whole CLVS; with several (for viewing, for analysis) the first one counts.
                self._processing_orders.setdefault(clvs, message)
            if not isinstance(message, (NnpfCharacteristics, NnpfActivation)):
                continue
            filters = self._clvss.setdefault(clvs, {})
            number = message.nnpfc_id if isinstance(message, NnpfCharacteristics) else message.nnpfa_target_id
            label = f"{message.NAME.upper()} {number}"
            if (reserved := reserved_value(message)) is not None:
                reasons.append(f"{label} is ignored: {reserved[0]} {reserved[1]} is reserved")
                continue
            if number not in filters and len(filters) >= MAX_FILTERS_PER_CLVS:
                reasons.append(f"{label} is ignored: more than {MAX_FILTERS_PER_CLVS} filters in one CLVS")
                continue
            known = filters.setdefault(number, _Filter(order=len(filters)))
            if isinstance(message, NnpfActivation):
                self._take_activation(known, message, decode_index, poc)
            elif (problem := self._take_characteristics(known, message, decode_index, poc)) is not None:
                reasons.append(f"{label} is ignored: {problem}")
        if reasons:
            self._reasons[clvs, decode_index] = reasons

    @staticmethod
    def _take_activation(known: _Filter, message: NnpfActivation, decode_index: int, poc: int) -> None:
        known.activations.put(poc, (decode_index, message))
        if message.nnpfa_prompt_update_flag and message.nnpfa_prompt:
            known.prompts.put(poc, message.nnpfa_prompt)
        if message.nnpfa_seed_update_flag and message.nnpfa_seed is not None:
            known.seeds.put(poc, message.nnpfa_seed)

    @staticmethod
    def _take_characteristics(known: _Filter, message: NnpfCharacteristics, decode_index: int, poc: int) -> str | None:
        if known.base is None:
            if not message.nnpfc_base_flag:
                return "an update without a base before it in this CLVS"
            if not message.nnpfc_property_present_flag:
                return "a base without properties"
            if (large := out_of_range(message)) is not None:
                return f"{large[0]} {large[1]} is out of range"
            known.base = (decode_index, message)
            return None
        base = known.base[1]
        if message.nnpfc_base_flag:
            return None if message == base else "a base that differs from the one before it in this CLVS"
        if message.nnpfc_purpose != base.nnpfc_purpose:
            return "an update of another purpose than its base"
        known.updates.put(poc, message)
        return None

    def decide(self, *, decode_index: int, clvs: int, poc: int) -> Decision:
        """The filters in force for an output picture."""
        for state in (self._clvss, self._processing_orders):
            for old in [c for c in state if c < clvs]:
                del state[old]
        for key in [k for k in self._reasons if k[0] < clvs]:
            del self._reasons[key]  # of pictures that were not output
        reasons = self._reasons.pop((clvs, decode_index), [])
        found: list[Active] = []
        for number, known in self._clvss.get(clvs, {}).items():
            governing = known.activations.at(poc)
            if governing is None:
                continue
            since, (index, activation) = governing
            if activation.nnpfa_cancel_flag or (since != poc and not activation.nnpfa_persistence_flag):
                continue
            label = f"NNPFA {number}"
            if known.base is None or known.base[0] > index:
                reasons.append(f"{label} has no effect: no NNPFC with this id before it in this CLVS")
                continue
            base = known.base[1]
            update = None
            if not activation.nnpfa_target_base_flag:
                in_force = known.updates.at(poc)
                if in_force is None:
                    reasons.append(f"{label} has no effect: it asks for an update, and none is in force")
                    continue
                update = in_force[1]
            prompt, seed = known.prompts.at(poc), known.seeds.at(poc)
            active = Active(
                number,
                base,
                update,
                activation,
                prompt[1] if prompt else base.nnpfc_prompt,
                seed[1] if seed else base.nnpfc_seed,
                self._rank(clvs, known, base, activation),
            )
            found.append(active)
        found.sort(key=lambda active: active.rank)
        return Decision(tuple(found), tuple(reasons), tuple(self._known()))

    def _known(self) -> Iterator[Known]:
        for clvs, filters in self._clvss.items():
            for known in filters.values():
                base = known.base[1] if known.base is not None else None
                if base is None or num_input_pics(base) == 1:
                    continue
                last = known.activations.last()
                rank = self._rank(clvs, known, base, last[1] if last is not None else None)
                yield Known(rank, num_input_pics(base), furthest_output(base))

    def _rank(
        self, clvs: int, known: _Filter, base: NnpfCharacteristics, activation: NnpfActivation | None
    ) -> tuple[int, int]:
        order = self._processing_orders.get(clvs)
        messages = base if activation is None or activation.nnpfa_cancel_flag else activation, base
        if known.listed is None or known.listed[:2] != (order, messages):
            known.listed = order, messages, _processing_order(order, messages)
        return known.listed[2], known.order


_LAST = 256  # po_sei_processing_order has 8 bits; filters that the message leaves out come last


def _processing_order(order: SeiProcessingOrder | None, of_filter: Iterable[Message]) -> int:
    """po_sei_processing_order of the entry for a filter: one for its NNPFA, else one for its NNPFC. An entry may be
    for messages that begin with certain bits only, which is how it tells filters apart."""
    if order is None:
        return _LAST
    prefixes = order.po_sei_prefix_data_bits or ()
    for message in of_filter:
        payload = sei_messages.encode(message).payload
        for at, payload_type in enumerate(order.po_sei_payload_type):
            prefix = prefixes[at] if order.po_sei_prefix_flag[at] and at < len(prefixes) else None
            if payload_type == message.PAYLOAD_TYPE and _begins_with(payload, prefix):
                return order.po_sei_processing_order[at]
    return _LAST


def _begins_with(payload: bytes, bits: str | None) -> bool:
    if not bits:
        return True
    head = "".join(f"{byte:08b}" for byte in payload[: -(-len(bits) // 8)])
    return head.startswith(bits)
