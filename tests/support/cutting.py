"""A proxy in front of a gateway that cuts connections in mid-answer."""

import asyncio
import contextlib


@contextlib.asynccontextmanager
async def cutting(port, after):
    """A TCP proxy that cuts each connection after so many bytes to the client, ``None`` of them never."""
    limits = iter(after)
    seen = []

    async def pump(reader, writer, limit):
        passed = 0
        while piece := await reader.read(512):
            writer.write(piece)
            passed += len(piece)
            if limit is not None and passed > limit:
                return

    async def handle(reader, writer):
        seen.append(writer)
        limit = next(limits, None)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        pumps = [
            asyncio.create_task(pump(reader, up_writer, None)),
            asyncio.create_task(pump(up_reader, writer, limit)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        up_writer.transport.abort()
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", seen
    finally:
        server.close()
