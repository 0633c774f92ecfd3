"""A connection that ends in time, whatever its caller does: no slow one holds a place."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def connection_of(longest_s: float) -> type[asyncio.Protocol]:
    """Return the protocol of connections that are cut after `longest_s` seconds.

    uvicorn has no limit of its own for a caller that never ends its headers.
    """

    class Connection(H11Protocol):
        """One request, then the end."""

        _end: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Start the clock."""
            super().connection_made(transport)
            self._end = self.loop.call_later(longest_s, transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop the clock."""
            if self._end is not None:
                self._end.cancel()
            super().connection_lost(exc)

    return Connection
