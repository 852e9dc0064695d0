"""Where a config says something, for errors that are found after it was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from greenedge.config.nodes import join_key
from greenedge.config.schema import RunConfig
from greenedge.errors import ConfigError


@contextmanager
def with_location(config: RunConfig, section: str) -> Iterator[None]:
    """Adds file, line and section to the configuration errors raised inside."""
    try:
        yield
    except ConfigError as error:
        if error.where is not None or error.key is None:
            raise
        key = join_key(section, error.key)
        nearest = key
        while nearest and nearest not in config.origins:
            nearest = nearest.rpartition(".")[0]
        raise ConfigError(error.message, key=key, where=config.origins.get(nearest)) from None
