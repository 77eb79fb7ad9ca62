"""Every error that pysurgeon raises on purpose, and the exit status that each one has on the command line.

A message says what was given, what was expected and what to do. Anything else that escapes is a defect of pysurgeon.
"""

from __future__ import annotations

from pysurgeon.shown import shown


class SurgeonError(Exception):
    """Base of all errors raised on purpose."""

    exit_status = 1

    def __str__(self) -> str:
        # Names in it may come from a file, and whoever prints it may be a terminal.
        return shown(super().__str__(), lines=True)


class ModelError(SurgeonError):
    """The file is not a model that can be used: not ONNX, truncated, invalid or without static facts that are needed."""


class DataError(SurgeonError):
    """The data cannot be used: unknown set, missing files, labels out of range, or a shape that does not fit the model."""


class DataWarning(UserWarning):
    """It is doubtful that a model is fed as it was when it was trained."""


class OutputExistsError(SurgeonError):
    """Something would be overwritten and nobody asked for it."""


class RunError(SurgeonError):
    """A run folder cannot be used: it is missing, belongs to other settings, or was written by another version."""


class TrainingError(SurgeonError):
    """The model cannot be trained by the engine: an operator without a gradient, an unsupported version, a lost worker."""


class UsageError(SurgeonError):
    """The arguments do not form a request: an unknown operation, a size that is no number."""

    exit_status = 2


class SettingError(UsageError):
    """A setting makes no sense.

    Attributes:
        setting: The field that holds it; a command line calls it otherwise.
        trouble: What is wrong with it, as the rest of a sentence that begins with its name.
    """

    def __init__(self, setting: str, trouble: str) -> None:
        super().__init__(setting, trouble)
        self.setting, self.trouble = setting, trouble

    def __str__(self) -> str:
        return f"{self.setting} {self.trouble}"


class Refused(SurgeonError):  # noqa: N818 (it is an answer, not a fault)
    """The request is well formed, but doing it would not be what it says. The message is the reason."""

    exit_status = 3


class VerificationError(SurgeonError):
    """What was to keep the function, an operation or loading itself, changed it. Nothing is written; this is a defect worth reporting."""
