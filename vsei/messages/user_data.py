"""User data: registered by Rec. ITU-T T.35 (payloadType 4) and unregistered (5). H.274 V4 clauses 8.4 and 8.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vsei.messages.form import Message
from vsei.syntax import Syntax


@dataclass(frozen=True, kw_only=True, slots=True)
class UserDataRegistered(Message):
    """user_data_registered_itu_t_t35()"""

    PAYLOAD_TYPE: ClassVar[int] = 4
    NAME: ClassVar[str] = "user_data_registered_itu_t_t35"

    itu_t_t35_country_code: int
    itu_t_t35_country_code_extension_byte: int | None = None
    itu_t_t35_payload_byte: bytes


def user_data_registered(s: Syntax) -> None:
    """user_data_registered_itu_t_t35( payloadSize )"""
    if s.u(8, "itu_t_t35_country_code") == 0xFF:
        s.u(8, "itu_t_t35_country_code_extension_byte")
    s.rest("itu_t_t35_payload_byte")


@dataclass(frozen=True, kw_only=True, slots=True)
class UserDataUnregistered(Message):
    """user_data_unregistered()"""

    PAYLOAD_TYPE: ClassVar[int] = 5
    NAME: ClassVar[str] = "user_data_unregistered"

    uuid_iso_iec_11578: bytes
    user_data_payload_byte: bytes


def user_data_unregistered(s: Syntax) -> None:
    """user_data_unregistered( payloadSize )"""
    s.b(16, "uuid_iso_iec_11578")
    s.rest("user_data_payload_byte")
