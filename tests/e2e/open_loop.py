"""An open-loop client: so many GETs each second on connections of their own, whatever becomes of the
others, until its standard input ends. Then waits for those in flight and prints one JSON list of
[began (monotonic seconds), seconds, status or error, first 64 bytes of the body].

    open_loop.py HOST PATH RATE      with nothing but Python's own library: it runs inside a lab"""
import asyncio
import json
import sys
import time

TIMEOUT_S = 30


async def ask(host, path, found):
    began, said, body, writer = time.monotonic(), "", b"", None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, 80)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            said = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else f"no answer: {head[:40]!r}"
    except (OSError, TimeoutError) as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        if writer is not None:
            writer.close()
    found.append((began, time.monotonic() - began, said, body[:64].decode("latin-1")))


async def main(host, path, rate):
    found, tasks = [], set()
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    start, count = time.monotonic(), 0
    while not ended.done():
        await asyncio.sleep(max(0, start + count / rate - time.monotonic()))
        task = asyncio.create_task(ask(host, path, found))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        count += 1
    await asyncio.gather(*tasks)
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
