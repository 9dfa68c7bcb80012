"""The arguments that say which SEI messages a command is for."""

from __future__ import annotations

import argparse

from nnpf.elements import payload_type
from nnpf.timing import at_times
from nnpf_tools.files import UsageError
from vsei import edit, messages, selection
from vsei.edit import NNPF_TYPES, Place, Unwanted
from vsei.errors import VseiError
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec
from vsei.sei import SeiMessage
from vsei.source import Stream

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--type", metavar="N,...", help="payload types, by number or name, or all (default: NNPFC and NNPFA)"
    )
    parser.add_argument("--id", type=int, metavar="N", help="only NNPFC with this nnpfc_id, NNPFA with this target")
    parser.add_argument("--picture", metavar="PICTURES", help="only at these pictures; written as for `nnpf inject`")


def chosen(args: argparse.Namespace, source: Stream) -> Unwanted:
    """Whether a message is among those that the arguments say. A stream may have to be read for it."""
    types = payload_types(args.type, source.codec)
    try:
        pictures = selection.parse(args.picture) if args.picture is not None else None
    except VseiError as error:
        raise UsageError(f"--picture: {error}") from None
    if pictures is not None:
        (pictures,) = at_times([pictures], source)
    indices: frozenset[int] | None = None
    if pictures is not None and pictures.needs_headers:
        source.keep()
        (indices,) = edit.pictures_of_stream(source.nal_units, source.codec, [pictures])

    def is_chosen(place: Place, message: SeiMessage) -> bool:
        if types is not None and message.payload_type not in types:
            return False
        if pictures is not None:
            if place.start is None:
                return False
            if not (pictures.picks(place.start) if indices is None else place.start.decode_index in indices):
                return False
        return args.id is None or _id(message, source.codec) == args.id

    return is_chosen


def payload_types(text: str | None, codec: Codec) -> frozenset[int] | None:
    """The payload types that --type names; None for all."""
    if text is None:
        return NNPF_TYPES
    if text == ALL:
        return None
    found = set()
    for part in text.split(","):
        number = int(part) if part.isascii() and part.isdigit() and len(part) < 10 else payload_type(part, codec)
        if number is None:
            raise UsageError(f"--type {part}: no SEI payload type of {codec.standard} has that name")
        found.add(number)
    return frozenset(found)


def _id(message: SeiMessage, codec: Codec) -> int | None:
    """The filter that a message is for."""
    if message.payload_type not in NNPF_TYPES:
        return None
    try:
        decoded = messages.decode(message, codec)
    except VseiError:
        return None
    found = decoded.message if decoded is not None else None
    if isinstance(found, NnpfCharacteristics):
        return found.nnpfc_id
    return found.nnpfa_target_id if isinstance(found, NnpfActivation) else None
