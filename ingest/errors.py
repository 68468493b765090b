"""The errors of Telltale, all of one family, each able to say what to do next.

    TelltaleError
    ├── InputError          a file, record or field is not what it should be (the caller can mend it)
    │   └── IdentityError   two sources disagree on who somebody is
    ├── TaskError           a task file asks for something impossible or unknown
    ├── FutureValueError    a value from after the index time was about to become an input
    └── ModelError          a model folder is missing, altered, or not of a safe format

A surface catches `TelltaleError`, shows its one line and exits with code 1. Everything else is a defect.
"""

from dataclasses import dataclass


class TelltaleError(Exception):
    """The base of every error that Telltale raises on purpose."""


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a piece of input, in the six parts that let its sender mend it.

    `got` never carries a name, a birth date or an identifier of a person: it may be printed and logged.
    """

    file: str
    record: str
    field: str
    expected: str
    got: str
    hint: str = ""

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.file, self.record, self.field) if part)
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}: expected {self.expected}, got {self.got}{hint}"


class InputError(TelltaleError):
    """A file, record or field is not what it should be."""

    def __init__(
        self, file: str, record: str = "", field: str = "", *, expected: str, got: str, hint: str = ""
    ) -> None:
        self.complaint = Complaint(file, record, field, expected, got, hint)
        super().__init__(str(self.complaint))


class IdentityError(InputError):
    """Two sources disagree on who somebody is; what they say is never fused."""


class TaskError(TelltaleError):
    """A task file asks for something impossible or unknown."""


class FutureValueError(TelltaleError):
    """A value from after the index time was about to become an input."""


class ModelError(TelltaleError):
    """A model folder is missing, altered, or not of a safe format."""
