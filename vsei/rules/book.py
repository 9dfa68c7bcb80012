"""What a rule is, and the books that rules are written into.

A rule is one small function over a context: a message, a NAL unit, a message with what its sequence holds so far. It
yields what is wrong, nothing where nothing is. Who has a context asks a book for all rules about it:

    @STANDARD.rule(NnpfCharacteristics, "nnpfc-base-properties", NNPFC, "A base filter carries its properties.")
    def base_has_properties(m: NnpfCharacteristics) -> Iterator[Broken]:
        if m.nnpfc_base_flag and not m.nnpfc_property_present_flag:
            yield Broken("nnpfc_property_present_flag", "0 in a base filter")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from vsei.pictures import Picture


class Level(StrEnum):
    """What it means to break a rule."""

    VIOLATION = "violation"  # of a "shall", or of what a decoder is known to need
    WARNING = "warning"  # allowed, but decoders ignore the message, or the standard's text leaves doubt


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is listed.

    Attributes:
        name: stable, for scripts; kebab case.
        clause: of the standard, or the decoder that asks for it.
        statement: what holds in a proper stream, in one sentence.
    """

    name: str
    clause: str
    statement: str
    level: Level


class Broken(NamedTuple):
    """What a rule found: the element at fault (None where no single one is), and the fault."""

    element: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule, and where.

    Attributes:
        element: the syntax element at fault, None where no single one is.
        message: what is wrong, in one line.
        nal_index: of the NAL unit, 0-based over the stream; None for messages that are in no stream.
        offset: of its start code, in bytes.
        picture: that the NAL unit belongs to; None where there is none.
        output_index: of that picture; None where it is not output.
        name: of the SEI message at fault; None where it is the NAL unit.
    """

    rule: Rule
    element: str | None
    message: str
    nal_index: int | None = None
    offset: int | None = None
    picture: Picture | None = None
    output_index: int | None = None
    name: str | None = None


C = TypeVar("C")
Check = Callable[[C], Iterable[Broken]]


class RuleBook:
    """The rules of one authority, by the type of what they look at."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._rules: dict[type[Any], list[tuple[Rule, Check[Any]]]] = {}

    def rule(
        self, context: type[C], name: str, clause: str, statement: str, level: Level = Level.VIOLATION
    ) -> Callable[[Check[C]], Check[C]]:
        """Write a function into the book."""

        def add(check: Check[C]) -> Check[C]:
            self._rules.setdefault(context, []).append((Rule(name, clause, statement, level), check))
            return check

        return add

    def broken(self, context: object) -> Iterator[tuple[Rule, Broken]]:
        """The rules that `context` breaks, and how."""
        for rule, check in self._rules.get(type(context), ()):
            for broken in check(context):
                yield rule, broken

    def rules(self) -> Iterator[tuple[type[Any], Rule]]:
        """All rules, with what they look at."""
        for context, rules in self._rules.items():
            for rule, _ in rules:
                yield context, rule


STANDARD = RuleBook("The standard")
