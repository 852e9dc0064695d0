"""The errors that the user can fix: one sentence each, with what was found and the way out."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_MISTAKES = 20  # shown of one config


def printable(text: str) -> str:
    """Escapes control characters and bytes that are not text, so that a text is one line and safe for a terminal.

    Names of files and classes may hold line breaks, colour codes, or bytes that are not UTF-8.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class GreenedgeError(Exception):
    """Base class of all expected errors; the command line prints the sentence and exits with `exit_code`.

    Args:
        sentence: what was found and the way out; it is made printable, since it may quote names of files.
    """

    exit_code = 1

    def __init__(self, sentence: str = "") -> None:
        super().__init__(printable(sentence))


class UsageError(GreenedgeError):
    """An invalid argument of a command."""

    exit_code = 2


class ConfigError(GreenedgeError):
    """An invalid configuration.

    Args:
        message: what was found, what was expected, the way out.
        key: the dotted key it is about, such as `train.epochs`.
        where: file and line (`configs/a.yaml:12`) or the option (`--set train.epochs=0`) that set it.
    """

    exit_code = 2

    def __init__(self, message: str, *, key: str | None = None, where: str | None = None) -> None:
        sentence = ": ".join(part for part in (where, key, message) if part)
        super().__init__(sentence)
        self.message, self.key, self.where = message, key, where

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """This error, or each of several that are reported together."""
        return (self,)


class CombinedConfigError(ConfigError):
    """Several mistakes in one config. As text: a title, then one line for each.

    Args:
        errors: in the order of the report; at least one.
        name: the config's file.
    """

    def __init__(self, errors: Sequence[ConfigError], name: str | None = None) -> None:
        super().__init__("; ".join(map(str, errors)))
        self._errors = tuple(errors)
        title = f"{len(errors)} mistakes in {printable(name)}:" if name else f"{len(errors)} mistakes:"
        lines = [f"  {error}" for error in errors[:_MOST_MISTAKES]]
        if len(errors) > _MOST_MISTAKES:
            lines.append(f"  and {len(errors) - _MOST_MISTAKES} more")
        self.args = ("\n".join([title, *lines]),)

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """Each of the mistakes."""
        return self._errors


class InstallationError(GreenedgeError):
    """Installed packages that do not work together."""


class DataError(GreenedgeError):
    """A data source or a prepared data set that is missing, damaged or does not fit."""


class CheckpointError(GreenedgeError):
    """Weights or a run directory that are missing, damaged or do not fit."""


class TrainingError(GreenedgeError):
    """A training that cannot continue; what was saved before can be resumed."""


class MeasurementError(GreenedgeError):
    """A cost that cannot be counted or measured."""
