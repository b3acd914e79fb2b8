"""The parent: messages to it and from it (process/process.h), and dying with it."""
import fcntl
import os
import select
import signal
import socket
import struct

from trilith_app.config import CONFIG, log

MESSAGE_MAGIC = 0x54524C31
MESSAGE_HEAD = struct.Struct("=IIQI")
MESSAGE_TEXT_LIMIT = 32768
MESSAGE = CONFIG["messages"]  # numbers of the message types: ready, failed, ...


class Channel:
    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)
        self.socket.settimeout(1)

    def send(self, kind, text=""):
        data = text.encode("utf-8", "backslashreplace")[:MESSAGE_TEXT_LIMIT]
        head = MESSAGE_HEAD.pack(MESSAGE_MAGIC, MESSAGE[kind], CONFIG["generation"], len(data))
        try:
            self.socket.send(head + data)
        except OSError as error:
            log(f"cannot tell the parent '{kind}': {error}")

    def receive(self):
        """The name of the next message, None for one of no interest, EOFError without a parent."""
        packet = self.socket.recv(MESSAGE_HEAD.size + MESSAGE_TEXT_LIMIT)
        if not packet:
            raise EOFError
        number = MESSAGE_HEAD.unpack_from(packet)[1]
        return next((name for name, value in MESSAGE.items() if value == number), None)


PARENT = Channel(CONFIG["channel"])


def die_with_parent():
    """When the parent is gone the kernel kills this process group, busy workers too: the pipe's
    write end is the parent's alone, and its hang-up is signalled to the owner of the read end."""
    lifeline = CONFIG["lifeline"]
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    if lifeline < 0:
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):  # hung up before the signal was asked for
        os.kill(0, signal.SIGKILL)
