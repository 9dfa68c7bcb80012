"""The one error of this package's own making: what is wrong, and with what."""

from __future__ import annotations

# Of a name that a stranger chose, in a message.
_SHOWN_CHARACTERS = 120


def shortened(text: str) -> str:
    """A URI, or whatever else a stream may hold of any length, for a message."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def printable(text: str) -> str:
    """Without what moves the cursor or rings the bell: names in streams and models come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class NnpfError(ValueError):
    """A file, a model, a picture or a setting that cannot be used.

    Attributes:
        problem: what is wrong, in one line.
        subject: the file, model, operator or picture at fault, as a user would name it.
    """

    def __init__(self, problem: str, *, subject: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.subject = subject

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}" if self.subject else self.problem
