"""A worker of version 2 that does as the test wants. It greets each new client with its pid, and answers line by line;
"pid" is answered with its pid. What it gives back it goes on with: half a line, and who was greeted already.

at-once=N    has so many clients at once (1000)
long=N       each state has so many bytes more
wants=F      asks for none while the file F exists
stuck=F      gives nothing back while the file F exists
mute         reads nothing more from its queue when it has given the first one back, and gives all others, too
counts=D     says that it has so many connections as is written in the directory D, in a file by the name of its takeover
             path, and moves some by writing other numbers there; none if there is a file "stuck", and not before a file
             "wait" is gone
crash=N      kills itself when it has given back so many

At SIGUSR1 it gives back all that it has, and goes on.
"""
import array
import ctypes
import os
import select
import signal
import socket
import sys
import time

options = dict(option.partition("=")[::2] for option in sys.argv[1:])
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # It dies with the supervisor.
queue = socket.socket(fileno=int(os.environ.pop("REACTORD_QUEUE")))
queue.setblocking(True)
own_path = os.environ.get("REACTORD_TAKEOVER", "")
padding = b"x" * int(options.get("long", 0))
PACKET_BYTES = 255 + 1 + 65536 + 1
clients = {}  # By descriptor: [socket, id, half a line, whether it was kept]
to_give, finishing, given = 0, False, 0


def say(packet, descriptors=()):
    """False if it is not in the socket."""
    try:
        # Not with socket.send_fds, which passes over the flags before Python 3.12.
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        queue.sendmsg([packet], control, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return True
    except OSError:
        return False  # The socket is full, or the supervisor is gone.


def must_say(packet):
    try:
        queue.send(packet)
    except OSError:
        pass  # The supervisor is gone.


def begin(client, number, state, kept=False):
    client.setblocking(False)
    half, _, rest = (state or b"").partition(b"\0")
    assert state is None or rest == padding, len(rest)
    clients[client.fileno()] = [client, number, half, kept]
    if state is None:
        client.send(f"worker {os.getpid()}\n".encode())


def end(descriptor):
    client, number, _, _ = clients.pop(descriptor)
    client.shutdown(socket.SHUT_RDWR) if client.fileno() >= 0 else None
    client.close()
    must_say(f"done {number}".encode())


def count_of(path):
    try:
        return int(open(os.path.join(options["counts"], os.path.basename(path))).read() or 0)
    except FileNotFoundError:
        return 0


def set_count(path, count):
    file = os.path.join(options["counts"], os.path.basename(path))
    with open(f"{file}.part", "w") as part:
        part.write(str(count))
    os.rename(f"{file}.part", file)


def move(share, path):
    """Half of one counts as one."""
    while os.path.exists(os.path.join(options["counts"], "wait")):
        time.sleep(0.01)
    part, whole = map(int, share.split("/"))
    count = (2 * count_of(own_path) * part + whole) // (2 * whole)
    if os.path.exists(os.path.join(options["counts"], "stuck")):
        count = 0
    set_count(own_path, count_of(own_path) - count)
    set_count(path, count_of(path) + count)
    must_say(f"moved {count}".encode())


def is_busy():
    return clients or ("counts" in options and count_of(own_path) > 0)


def give_back(descriptor):
    global given
    client, number, half, _ = clients[descriptor]
    if not say(f"back {number}\n".encode() + half + b"\0" + padding, [descriptor]):
        return False
    clients.pop(descriptor)
    client.close()
    given += 1
    if given == int(options.get("crash", -1)):
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def serve(descriptor):
    entry = clients[descriptor]
    try:
        received = entry[0].recv(65536)
    except BlockingIOError:
        return
    except OSError:
        received = b""
    if not received:
        try:
            return end(descriptor)
        except OSError:
            return must_say(f"done {entry[1]}".encode())
    *lines, entry[2] = (entry[2] + received).split(b"\n")
    for line in lines:
        entry[0].send(f"worker {os.getpid()}\n".encode() if line == b"pid" else line + b"\n")


def hear():
    """False when the supervisor is gone."""
    global to_give, finishing
    try:
        packet, descriptors, _, _ = socket.recv_fds(queue, PACKET_BYTES, 253)
    except ConnectionError:
        return False
    if not packet:
        return False
    words, newline, state = packet.partition(b"\n")
    word, *rest = words.decode().split(" ")
    if word == "connection":
        must_say(f"took {rest[0]}".encode())
        begin(socket.socket(fileno=descriptors[0]), rest[0], state if newline else None)
    elif word == "keep":
        begin(socket.socket(fileno=descriptors[0]), rest[0], state, True)
    elif word == "give":
        to_give = int(rest[0])
    elif word == "finish":
        finishing = True
    elif word == "count" and "counts" in options:
        must_say(f"holds {count_of(own_path)}".encode())
    elif word == "move" and "counts" in options:
        move(rest[0], " ".join(rest[1:]))
    return True


def give_all(*_):
    global to_give
    to_give = len(clients)


signal.signal(signal.SIGUSR1, give_all)
say(b"ready 2")
supervised, has_asked = True, False
while clients or supervised:
    if finishing and supervised and not is_busy():
        # What was given back last may be refused: it hears that before the end.
        queue.shutdown(socket.SHUT_WR)
        while hear():
            pass
        supervised = False
        continue
    if not has_asked and not os.path.exists(options.get("wants", "")):
        say(f"want {options.get('at-once', 1000)}".encode())
        has_asked = True
    is_mute = "mute" in options and given > 0
    heard = [queue] if supervised and not is_mute else []
    readable, _, _ = select.select(heard + list(clients), [], [], 0.01 if finishing or to_give or not has_asked else 0.1)
    if queue in readable:
        supervised = hear()
    for descriptor in readable:
        if descriptor in clients:
            serve(descriptor)
    if not supervised or os.path.exists(options.get("stuck", "")):
        continue
    for descriptor in list(clients):
        if not (finishing or to_give) or (clients[descriptor][3] and not to_give):
            continue
        if not give_back(descriptor):
            break
        to_give = max(to_give - 1, 0)
