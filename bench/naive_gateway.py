"""The gateway everybody writes first: a Redis Pub/Sub connection per socket, JSON per token.

It promises nothing of what Tokenwire promises (no log, no resume, no numbers checked) and serves as the peer
of the relay benchmark only: `python -m bench.naive_gateway` with REDIS_URL and PORT.
"""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import parse_qs, urlsplit

import uvloop
from redis.asyncio import ConnectionPool, Redis
from websockets.asyncio.server import ServerConnection, serve

from shared.log import unescape
from shared.store import keys


async def main() -> None:
    """Serve until killed."""
    pool = ConnectionPool.from_url(os.environ["REDIS_URL"], max_connections=20_000)

    async def relay(socket: ServerConnection) -> None:
        query = parse_qs(urlsplit(socket.request.path).query) if socket.request else {}
        response_id = query["response_id"][0]
        async with Redis(connection_pool=pool).pubsub() as pubsub:
            await pubsub.ssubscribe(keys.channel(response_id))
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
                if message is None:
                    continue
                upto, _, kind, _, text = message["data"].decode().split(" ", 4)
                if kind == "d":
                    event = {
                        "type": "response.output_text.delta",
                        "sequence_number": int(upto) - 1,
                        "delta": unescape(text),
                    }
                    await socket.send(json.dumps(event))

    async with serve(relay, "127.0.0.1", int(os.environ["PORT"]), compression=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
