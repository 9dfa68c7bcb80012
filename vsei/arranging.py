"""Which pictures get a message, where that depends on other messages.

`follow_updates` activates a base until an update comes. `arrange` is for decoders with needs of their own
(`vsei.rules.decoders`); where these would change what is filtered, it refuses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vsei import messages
from vsei.annexb import NalUnit
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.grouping import PictureStart
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec
from vsei.pictures import picture_units
from vsei.rules.decoders import Decoder
from vsei.sei import SeiMessage

Pictures = list[set[int]]


class _Nnpf(NamedTuple):
    """What counts of a message: for which filter, and what it is."""

    id: int
    characteristics: bool
    base: bool  # of an activation: its target
    ends: bool = False  # a cancellation, or an activation of one picture


class Order(NamedTuple):
    """Where a picture stands: its CLVS, and its POC in it."""

    clvs: int
    poc: int


def orders(nal_units: Iterable[NalUnit], codec: Codec) -> dict[int, Order]:
    """By decode index; pictures with broken headers are left out."""
    found = (unit.picture for unit in picture_units(nal_units, codec))
    return {picture.decode_index: Order(picture.clvs, picture.poc) for picture in found if picture is not None}


def follow_updates(
    base: frozenset[int], updates: Sequence[frozenset[int]], order: Mapping[int, Order]
) -> tuple[frozenset[int], list[frozenset[int]]]:
    """The pictures at which a filter is activated with its base and with its updates: with the base where `base` says,
    until an update is in force, with the update from then on to the end of the CLVS.

    An activation can name an update only if that came before in decoding order. Where one comes for pictures that are
    output before a picture of `base`, but decoded after it, that picture has the base; the next one goes on with the
    update.

    Args:
        base: decode indices of the pictures at which an activation stands, that of an update if there is one by then.
        updates: decode indices of the pictures of each update.
    """
    found = [set(indices) for indices in updates]
    left = set()
    in_sequence: dict[int, list[tuple[int, int]]] = defaultdict(list)  # CLVS -> POC and decode index of its pictures
    sent: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # CLVS -> POC, decode index, update
    for index, (clvs, poc) in order.items():
        in_sequence[clvs].append((poc, index))
        sent[clvs] += [(poc, index, i) for i, indices in enumerate(updates) if index in indices]
    for pictures in in_sequence.values():
        pictures.sort()
    for index in base:
        here = order.get(index)
        before = [u for u in sent[here.clvs] if u[0] <= here.poc] if here is not None else []
        known = [u for u in before if u[1] <= index]
        if known:
            found[max(known)[2]].add(index)
            continue
        left.add(index)
        if here is not None and before:
            _, decoded, update = max(before)
            pictures = in_sequence[here.clvs]
            behind = pictures[bisect_right(pictures, (here.poc, index)) :]
            going_on = next((i for _, i in behind if i > decoded), None)
            if going_on is not None and not any(going_on in indices for indices in found):
                found[update].add(going_on)
    return frozenset(left), [frozenset(indices) for indices in found]


def arrange(
    placements: Sequence[Placement],
    decided: Sequence[frozenset[int]],
    starts: Sequence[PictureStart],
    decoder: Decoder,
    order: Mapping[int, Order],
) -> list[frozenset[int]]:
    """The pictures of each placement, as the decoder needs them.

    Args:
        decided: the decode indices of each placement's pictures.
        starts: all pictures of the stream.
        order: from `orders`; only for a decoder with `activation_once`.

    Raises:
        VseiError: there is no such arrangement that filters the same pictures in the same way.
    """
    kinds = [_kind(p) for p in placements]
    pictures: Pictures = [set(indices) for indices in decided]
    for placement, indices in zip(placements, pictures, strict=True):
        if placement.clvs is not None:
            indices -= {i for i in indices if starts[i].clvs != placement.clvs}
    if any(start.layer_id != starts[0].layer_id for start in starts):
        raise VseiError(f"{decoder.version}: streams of one layer only")
    if decoder.activation_once:
        _leave_out_repeats(placements, kinds, pictures, order)
    if decoder.base_resets:
        _repeat_after_bases(kinds, pictures, starts)
    if not decoder.different_messages:
        _spread(placements, kinds, pictures, starts, decoder)
    return [frozenset(indices) for indices in pictures]


def _kind(placement: Placement) -> _Nnpf | None:
    try:
        decoded = messages.decode(placement.message)
    except VseiError:
        return None
    message = decoded.message if decoded is not None else None
    if isinstance(message, NnpfCharacteristics):
        return _Nnpf(message.nnpfc_id, True, bool(message.nnpfc_base_flag))
    if isinstance(message, NnpfActivation):
        ends = bool(message.nnpfa_cancel_flag) or not message.nnpfa_persistence_flag
        return _Nnpf(message.nnpfa_target_id, False, bool(message.nnpfa_target_base_flag), ends)
    return None


def _by_picture(kinds: Sequence[_Nnpf | None], pictures: Pictures) -> Mapping[int, list[int]]:
    """The placements of NNPF messages at each picture, in their order."""
    found = defaultdict(list)
    for i, (kind, indices) in enumerate(zip(kinds, pictures, strict=True)):
        if kind is not None:
            for picture in indices:
                found[picture].append(i)
    return found


def _leave_out_repeats(
    placements: Sequence[Placement], kinds: Sequence[_Nnpf | None], pictures: Pictures, order: Mapping[int, Order]
) -> None:
    """An activation that is in force does not come again in its CLVS: for receivers that start later it would."""
    at = _by_picture(kinds, pictures)
    in_force: dict[tuple[int, int], SeiMessage | None] = {}  # by CLVS and nnpfc_id
    for picture in sorted(order.keys() & at.keys(), key=lambda index: (order[index], index)):
        for i in at[picture]:
            kind, message = kinds[i], placements[i].message
            if kind is None or kind.characteristics:
                continue
            key = order[picture].clvs, kind.id
            if in_force.get(key) == message:
                pictures[i].discard(picture)
            in_force[key] = None if kind.ends else message


def _repeat_after_bases(kinds: Sequence[_Nnpf | None], pictures: Pictures, starts: Sequence[PictureStart]) -> None:
    """Where a base comes again in its CLVS, the update and the activation in force come again with it."""
    at = _by_picture(kinds, pictures)
    update: dict[int, int] = {}  # nnpfc_id -> placement
    activation: dict[int, int] = {}
    clvs = -1
    for picture in sorted(at):
        if starts[picture].clvs != clvs:
            clvs = starts[picture].clvs
            update.clear()
            activation.clear()
        here = [(i, kind) for i in at[picture] if (kind := kinds[i]) is not None]
        for _, base in here:
            if not base.characteristics or not base.base:
                continue
            same = [kind for _, kind in here if kind.id == base.id]
            if base.id in update and not any(k.characteristics and not k.base for k in same):
                pictures[update[base.id]].add(picture)
            if base.id in activation and all(k.characteristics for k in same):
                pictures[activation[base.id]].add(picture)
        for i, kind in here:
            if kind.characteristics and not kind.base:
                update[kind.id] = i
            elif not kind.characteristics and not kind.ends:
                activation[kind.id] = i
            elif not kind.characteristics:
                activation.pop(kind.id, None)


def _spread(
    placements: Sequence[Placement],
    kinds: Sequence[_Nnpf | None],
    pictures: Pictures,
    starts: Sequence[PictureStart],
    decoder: Decoder,
) -> None:
    """No picture has two different NNPFC: the second one waits for the next picture that has none."""
    at = _by_picture(kinds, pictures)
    waiting: list[tuple[int, int]] = []  # placement, picture that it was for
    picture = min(at, default=0)
    while picture < len(starts) and (waiting or picture <= max(at, default=-1)):
        here = at.get(picture, [])
        if (
            len({placements[i].message for i in here if (kind := kinds[i]) is not None and not kind.characteristics})
            > 1
        ):
            raise VseiError(
                f"{decoder.version} stops at two different NNPFA at one picture, as at picture {picture}: "
                "activate one of the filters elsewhere"
            )
        wanted = [i for i in here if (kind := kinds[i]) is not None and kind.characteristics]
        # What comes again here need not be made up for.
        waiting = [(i, origin) for i, origin in waiting if i not in wanted]
        for _, origin in waiting:
            if starts[origin].clvs != starts[picture].clvs:
                raise _no_room(decoder, origin)
        # Bases stay where decoding may start; else, what waits longest goes first.
        bases = [(i, picture) for i in wanted if (kind := kinds[i]) is not None and kind.base]
        queue = [*bases, *waiting, *((i, picture) for i in wanted if (i, picture) not in bases)]
        for i in wanted:
            pictures[i].discard(picture)
        waiting = []
        taken: int | None = None
        for i, origin in queue:
            if taken is None or placements[i].message == placements[taken].message:
                taken = i
                pictures[i].add(picture)
            else:
                waiting.append((i, origin))
        for i, origin in waiting:
            _refuse_if_needed(kinds, here, i, picture, origin, decoder)
        picture += 1
    if waiting:
        raise _no_room(decoder, waiting[0][1])


def _no_room(decoder: Decoder, picture: int) -> VseiError:
    return VseiError(
        f"{decoder.version} stops at two different NNPFC at one picture, and after picture {picture} there are too few "
        "pictures to spread them over"
    )


def _refuse_if_needed(
    kinds: Sequence[_Nnpf | None], here: Sequence[int], placement: int, picture: int, origin: int, decoder: Decoder
) -> None:
    """VseiError where an NNPFC still waits at a picture that needs it."""
    late = kinds[placement]
    for i in here:
        kind = kinds[i]
        if late is None or kind is None or kind.id != late.id:
            continue
        if not kind.characteristics and (late.base or not kind.base):
            what = "base" if late.base else "update"
            raise VseiError(
                f"{decoder.version} stops at two different NNPFC at one picture, so the {what} of filter {late.id} for "
                f"picture {origin} has to wait for a later one; picture {picture} activates it before: activate it "
                "later, or place it elsewhere"
            )
