"""The one error of this package: what is wrong, and where."""

from __future__ import annotations


class VseiError(ValueError):
    """A stream, a message or a value that cannot be read or written.

    Attributes:
        problem: what is wrong, in one line.
        element: the syntax element, in the standard's name, with its subscripts.
        offset: byte offset in the file (of the NAL unit's start code, where a NAL unit is at fault).
        bit: bit position inside the NAL unit or the payload.
    """

    def __init__(
        self, problem: str, *, element: str | None = None, offset: int | None = None, bit: int | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.element = element
        self.offset = offset
        self.bit = bit

    def __str__(self) -> str:
        where = [] if self.offset is None else [f"offset {self.offset}"]
        if self.bit is not None:
            where.append(f"bit {self.bit}")
        parts = ([" ".join(where)] if where else []) + ([self.element] if self.element else [])
        return ": ".join([*parts, self.problem])

    def at(self, offset: int) -> VseiError:
        """The same error, with the file offset filled in by whoever knows it."""
        if self.offset is None:
            self.offset = offset
        return self
