"""What a caller of this package can have done wrong. What the network does is an event, not an error."""

from __future__ import annotations


class ConnectorError(Exception):
    """Root of this package's errors."""


class UsageError(ConnectorError):
    """The command line, the environment, or a file they name: one line for the user, exit status 2."""


class ConfigurationError(ConnectorError):
    """A configuration that cannot be used; the text names the key, what was found and what is allowed."""
