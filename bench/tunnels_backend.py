"""The backend of tunnels.py: an HTTP server that echoes WebSocket messages, takes and gives bodies of
any size without keeping them, and answers slowly when it is asked to."""
import asyncio
import base64
import hashlib

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PIECE = b"0123456789abcdef" * 16384  # 256 KiB


async def read_message(reader):
    """The payload of one masked message of up to 125 bytes."""
    head = await reader.readexactly(6)
    length, mask = head[1] & 127, head[2:]
    data = await reader.readexactly(length)
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


async def echo(reader, writer, headers):
    key = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n")
    while True:
        data = await read_message(reader)
        writer.write(bytes([0x82, len(data)]) + data)


async def chunks(reader):
    """The pieces of a chunked body."""
    while size := int((await reader.readline()).split(b";")[0], 16):
        while size > 0:
            data = await reader.read(min(size, 1 << 18))
            size -= len(data)
            yield data
        await reader.readline()
    await reader.readline()


async def take(reader, headers):
    """Reads the body; how many bytes it had."""
    count = 0
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        async for data in chunks(reader):
            count += len(data)
        return count
    left = int(headers.get(b"content-length", b"0"))
    while count < left:
        data = await reader.read(min(left - count, 1 << 18))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        count += len(data)
    return count


async def give(writer, size, is_chunked, pause):
    """size bytes, a multiple of a piece; a pause after each piece when it shall be slow."""
    writer.write(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if is_chunked else
                                           b"Content-Length: %d\r\n\r\n" % size))
    for _ in range(size // len(PIECE)):
        writer.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if is_chunked else PIECE)
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)
    if is_chunked:
        writer.write(b"0\r\n\r\n")


async def answer(reader, writer, target, headers):
    """/echo, /take, /give/BYTES, /chunked/BYTES, /slow/BYTES"""
    kind, _, size = target.strip(b"/").partition(b"/")
    if kind == b"echo":
        await echo(reader, writer, headers)
    elif kind in (b"give", b"chunked", b"slow"):
        await give(writer, int(size), kind == b"chunked", 0.05 if kind == b"slow" else 0)
    else:
        if headers.get(b"expect", b"").lower() == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        said = b"%d" % await take(reader, headers)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
    await writer.drain()


async def serve(reader, writer):
    try:
        while line := await reader.readline():
            headers = {}
            while (row := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = row.partition(b":")
                headers[name.lower()] = value.strip()
            await answer(reader, writer, line.split()[1], headers)
    except (OSError, asyncio.IncompleteReadError):
        pass  # the other side has gone
    finally:
        writer.close()


async def main(port, ready):
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=2048, limit=1 << 20)
    ready.set()
    async with server:
        await server.serve_forever()


def run(port, ready):
    asyncio.run(main(port, ready))
