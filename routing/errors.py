"""What a caller of routing can do wrong."""

from __future__ import annotations


class RoutingError(Exception):
    """Root of this package's errors."""


class UnknownAlgorithmError(RoutingError):
    """A name that the catalogue does not hold."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no routing algorithm {name!r}; there are {', '.join(known)}")
        self.name = name
        self.known = known


class UnknownParameterError(RoutingError):
    """A parameter that the algorithm does not have, or of the wrong type."""


class AlgorithmError(RoutingError):
    """An algorithm raised, or returned what is not a table of routes."""

    def __init__(self, algorithm: str, problem: str) -> None:
        super().__init__(f"algorithm {algorithm!r}: {problem}")
        self.algorithm = algorithm
        self.problem = problem


class UnknownEstimatorError(RoutingError):
    """An estimator that does not exist, or a parameter it cannot have."""


class LsaError(RoutingError):
    """Bytes that are no message of link state."""


class PluginError(RoutingError):
    """A file, text or entry point that is no algorithm. Begins with its name and, where there is one, the line."""
