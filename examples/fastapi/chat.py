"""Rooms to chat in: a page, a list of the rooms as JSON, what was said as a stream, a WebSocket."""
import asyncio
import collections

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse

app = FastAPI(title="Chat")
listeners = collections.defaultdict(set)  # room -> queues
history = collections.defaultdict(lambda: collections.deque(maxlen=20))


def say(room, line):
    history[room].append(line)
    for queue in listeners[room]:
        queue.put_nowait(line)


@app.get("/rooms")
async def rooms() -> dict[str, int]:
    """Each room with the number of those who listen."""
    return {room: len(queues) for room, queues in listeners.items() if queues}


@app.get("/rooms/{room}/stream")
async def stream(room: str):
    """Server-sent events: for those who only want to read."""
    async def lines():
        queue = asyncio.Queue()
        listeners[room].add(queue)
        try:
            for line in history[room]:
                yield f"data: {line}\n\n"
            while True:
                try:
                    yield f"data: {await asyncio.wait_for(queue.get(), 15)}\n\n"
                except asyncio.TimeoutError:
                    yield ": still here\n\n"
        finally:
            listeners[room].discard(queue)
    return StreamingResponse(lines(), media_type="text/event-stream")


@app.websocket("/rooms/{room}")
async def talk(socket: WebSocket, room: str, name: str = "somebody"):
    await socket.accept()
    queue = asyncio.Queue()
    for line in history[room]:
        queue.put_nowait(line)
    listeners[room].add(queue)
    say(room, f"{name} is here")

    async def tell():
        while True:
            await socket.send_text(await queue.get())

    teller = asyncio.create_task(tell())
    try:
        while True:
            say(room, f"{name}: {await socket.receive_text()}")
    except WebSocketDisconnect:
        pass
    finally:
        teller.cancel()
        listeners[room].discard(queue)
        say(room, f"{name} has left")


@app.get("/", response_class=HTMLResponse)
async def page():
    return PAGE


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Chat</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 36em; margin: 2em auto; padding: 0 1em }
  #said { min-height: 12em; white-space: pre-wrap }
</style>
<h1>Chat</h1>
<div id="said"></div>
<form id="say"><input id="text" autofocus autocomplete="off"> <button>Say</button></form>
<script>
  const said = document.getElementById('said'), text = document.getElementById('text');
  const show = (line) => { said.append(line + '\\n'); };
  const name = 'guest ' + Math.floor(Math.random() * 1000);
  let socket;
  function connect() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    socket = new WebSocket(`${scheme}://${location.host}/rooms/hall?name=${name}`);
    socket.onmessage = (event) => show(event.data);
    socket.onclose = () => { show('(connecting again)'); setTimeout(connect, 1000); };
  }
  document.getElementById('say').onsubmit = (event) => {
    event.preventDefault();
    socket.send(text.value);
    text.value = '';
  };
  connect();
</script>
</html>
"""
