"""Collects the mistakes of a config, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from greenedge.errors import CombinedConfigError, ConfigError

_MOST = 100  # a text with more mistakes is no config; looking for names that were meant takes time


class Mistakes:
    """The config errors found so far; with the hundredth, all of them are raised.

    Example:
        >>> mistakes = Mistakes("a.yaml")
        >>> for text in ("train.epochs", "train.seed"):
        ...     with mistakes.collect():
        ...         raise ConfigError("expected KEY=VALUE", where=f"--set {text}")
        >>> len(mistakes.errors)
        2

    Args:
        name: the config's file, for the title of several errors.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.errors: list[ConfigError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keeps a config error that is raised inside, and goes on after the block."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    def add(self, error: ConfigError) -> None:
        """Keeps an error."""
        self.errors.extend(error.errors)
        if len(self.errors) >= _MOST:
            self.raise_all()

    def raise_all(self) -> None:
        """Raises what was found: nothing, the one error as it is, or all of them together.

        Raises:
            ConfigError: something was found.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise CombinedConfigError(sorted(self.errors, key=_line), self.name) from None


def _line(error: ConfigError) -> int:
    """The line of the file that an error is about; after all lines for `--set` and what has no line."""
    where = error.where or ""
    number = where.rpartition(":")[2]
    return int(number) if number.isdecimal() and not where.startswith("--set ") else 2**31
