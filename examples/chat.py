"""A chat that keeps its clients when it is replaced: the name of each, which is its first line, and what it is typing
go to the next worker with the connection. The standard library is all it needs.

    reactord supervise -p 1234 --workers 4 -- python3 examples/chat.py
"""
import contextlib, os, select, selectors, socket
mine, kept, owed, finishing, gone = [], [], 0, False, False  # Clients that may be given back, and those that must stay.


class Client:
    def __init__(self, number, sock, state, among):
        self.number, self.sock, self.among, (self.name, self.typed) = number, sock, among, state.split(b"\n")
        sock.setblocking(False)
        among.append(self)
        selector.register(sock, selectors.EVENT_READ, self.on_event)

    def on_event(self):
        data = b""
        with contextlib.suppress(OSError):
            data = self.sock.recv(4096)
        *lines, self.typed = (self.typed + data).split(b"\n")
        for line in lines:
            for each in mine + kept if self.name else []:
                with contextlib.suppress(OSError):  # It is gone, as reading will tell, or too slow for this line.
                    if each.sock.send(self.name + b": " + line + b"\n") < len(self.name + line) + 3:
                        each.sock.shutdown(socket.SHUT_RDWR)
            self.name = self.name or line
        if not data or len(self.typed) > 1000:
            say(b"done " + self.number) and say(b"want 1")
            self.leave()

    def leave(self):
        self.among.remove(self)
        selector.unregister(self.sock)  # Before it is closed: events go on as long as anybody has a duplicate.
        self.sock.close()


def say(packet, *descriptors):
    with contextlib.suppress(OSError):  # The supervisor is gone, and what is ours stays so.
        return socket.send_fds(queue, [packet], descriptors)


def on_queue():
    global owed, finishing, gone
    packet, descriptors, _, _ = socket.recv_fds(queue, 66000, 253, socket.MSG_CMSG_CLOEXEC)
    said, *state = packet.split(b"\n", 1)
    word, *rest = said.split(b" ")
    socks = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if word == b"keep" or word == b"connection" and say(b"took " + rest[0]):
        Client(rest[0], *socks, *state or [b"\n"], mine if word == b"connection" else kept)
    elif word == b"give":
        owed = int(rest[0])
    finishing, gone = finishing or word == b"finish", word == b"" and selector.unregister(queue) is not None


selector, queue = selectors.DefaultSelector(), socket.socket(fileno=int(os.environ.pop("REACTORD_QUEUE")))
queue.set_inheritable(False)
queue.setblocking(True)
selector.register(queue, selectors.EVENT_READ, on_queue)
say(b"ready 2")
say(b"want 900")
while mine or kept or not gone:
    with contextlib.suppress(ConnectionResetError):  # What was said before it is still to be heard.
        for key, _ in selector.select(0.01 if owed else None):
            key.data()
    owed = 0 if gone else len(mine) if finishing else min(owed, len(mine))
    for each in mine[:owed]:
        back = b"back " + each.number + b"\n" + each.name + b"\n" + each.typed
        if select.select([], [queue], [], 0)[1] and say(back, each.sock.fileno()):
            each.leave()
            finishing or say(b"want 1")
            owed -= 1
    if finishing and not mine and not kept:
        queue.shutdown(socket.SHUT_WR)  # What was given last may be refused, and that is heard before the end.
