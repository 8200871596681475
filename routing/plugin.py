"""Algorithms from outside: a Python file, its text, or an entry point of the group `popnet.algorithms`.

A plug-in is a module with a function `decide(state) -> routes` and, if it has parameters, a dict `PARAMS` of their
defaults. It is loaded afresh each time, so two PoPs in one process share nothing of it. What is wrong with it is one
PluginError, which begins with the file and, where there is one, the line.
"""

from __future__ import annotations

import inspect
import itertools
import linecache
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from routing.catalogue import CATALOGUE, Algorithm
from routing.errors import PluginError, UnknownAlgorithmError

GROUP = "popnet.algorithms"

_numbers = itertools.count(1)


def load(path: Path | str) -> Algorithm:
    """The algorithm in a file, named as the file is; or the installed one that `popnet.algorithms:NAME` means.

    Raises PluginError.
    """
    if str(path).startswith(f"{GROUP}:"):
        try:
            return find(str(path).removeprefix(f"{GROUP}:"))
        except UnknownAlgorithmError as error:
            raise PluginError(str(error)) from error
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise PluginError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PluginError(f"{path}: bytes that are not UTF-8") from error
    return from_text(path.name, text, str(path))


def from_text(name: str, text: str, file: str) -> Algorithm:
    """The algorithm that a text is, under the name `name`; `file` is what errors and tracebacks call it."""
    try:
        code = compile(text, file, "exec")
    except SyntaxError as error:
        raise PluginError(f"{file}:{error.lineno or 1}: {error.msg}") from error
    except ValueError as error:  # a null byte
        raise PluginError(f"{file}: {error}") from error
    module = ModuleType(f"popnet_algorithm_{next(_numbers)}")
    module.__file__ = file
    # Decorators such as dataclass look the module up; tracebacks look up the lines.
    sys.modules[module.__name__] = module
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(code, module.__dict__)  # noqa: S102 to run it is what it is here for
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise PluginError(f"{where(error, file)}: {type(error).__name__}: {error}") from error
    return _algorithm(name, module, file)


def installed() -> tuple[str, ...]:
    """Names of the algorithms that installed packages offer."""
    return tuple(sorted(entry_points(group=GROUP).names))


def find(name: str) -> Algorithm:
    """By name: from the catalogue, else from an installed package. UnknownAlgorithmError, PluginError."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    for point in entry_points(group=GROUP):
        if point.name != name:
            continue
        said = f"entry point {GROUP}:{name} = {point.value}"
        try:
            module = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{said}: {type(error).__name__}: {error}") from error
        return _algorithm(name, module, said)
    raise UnknownAlgorithmError(name, (*CATALOGUE, *installed()))


def where(error: BaseException, file: str) -> str:
    """`file:line` of the last line of `file` that an exception passed, else the file alone."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    return f"{file}:{lines[-1]}" if lines else file


def _algorithm(name: str, module: object, file: str) -> Algorithm:
    decide = getattr(module, "decide", None)
    if decide is None:
        raise PluginError(f"{file}: no function `decide(state)`")
    if not callable(decide) or inspect.iscoroutinefunction(decide):
        raise PluginError(f"{file}: `decide` is no plain function")
    try:
        inspect.signature(decide).bind(None)
    except TypeError as error:
        raise PluginError(f"{file}: `decide` must take one argument, the state: {error}") from error
    except ValueError:
        pass  # built in C; nobody knows what it takes
    params: Any = getattr(module, "PARAMS", {})
    if not isinstance(params, Mapping) or not all(isinstance(key, str) for key in params):
        raise PluginError(f"{file}: `PARAMS` is no dict of names with their defaults")
    return Algorithm(name, decide, dict(params), learns=True)
