"""The one error of this package: what is wrong, and where in the payload."""

from __future__ import annotations


class NncError(ValueError):
    """A payload that cannot be decoded, or tensors that cannot be coded.

    Attributes:
        problem: what is wrong, in one line.
        offset: byte offset in the payload, where known.
        unit: the NNR unit by number and type ("unit 3 NNR_NDU 'conv1.weight'"), where known.
        field: the syntax element, in the standard's name, where known.
    """

    def __init__(
        self, problem: str, *, offset: int | None = None, unit: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.offset = offset
        self.unit = unit
        self.field = field

    def __str__(self) -> str:
        where = [] if self.offset is None else [f"offset {self.offset}"]
        where += [part for part in (self.unit, self.field) if part]
        return ": ".join([*where, self.problem])

    def within(self, *, offset: int | None = None, unit: str | None = None) -> NncError:
        """The same error, with what only the caller knows filled in where it is still open."""
        if self.offset is None:
            self.offset = offset
        if self.unit is None:
            self.unit = unit
        return self


class UnsupportedError(NncError):
    """Syntax whose meaning is not known here. A decoder reports the unit by name and goes on with the next one."""
