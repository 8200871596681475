"""lab.sock: what the command line asks of the supervisor, one JSON object a line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from lab.jsonlines import LINE_LIMIT, Message, RefusedError, UnreachableError

Handler = Callable[[Message], Awaitable[Message]]


async def serve(path: Path, handlers: dict[str, Handler]) -> asyncio.Server:
    """Answers until closed. A handler raises RefusedError for what cannot be done."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await _answer(line, handlers)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    return await asyncio.start_unix_server(on_connection, str(path), limit=LINE_LIMIT)


async def _answer(line: bytes, handlers: dict[str, Handler]) -> Message:
    try:
        message = json.loads(line)
        handler = handlers.get(message["op"])
        if handler is None:
            known = ", ".join(sorted(handlers))
            raise RefusedError(f"unknown operation {message['op']!r} (known: {known})")
        return {"ok": True, **await handler(message)}
    except (RefusedError, UnreachableError) as error:
        return {"ok": False, "error": str(error)}
    except (ValueError, KeyError, TypeError) as error:
        return {"ok": False, "error": f"not a request: {error!r}"}
