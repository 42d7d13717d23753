"""A worker that does as the test wants. It greets each client with its pid, and answers line by line.

at-once=N    serves so many clients at once (1)
takes=N      takes so many connections and leaves the others where they are
wait-for=F   is ready when the file F is gone
fail-if=F    exits with code 7, before it is ready, if the file F exists
tied         dies with the supervisor
deaf         the same, and ignores SIGTERM and whatever it is told
report=F     writes its surroundings into the file F, first thing
"""
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
import time

options = dict(option.partition("=")[::2] for option in sys.argv[1:])

if "report" in options:
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    report = {
        "umask": status["Umask"],
        "blocked": int(status["SigBlk"], 16),
        "ignored": int(status["SigIgn"], 16),
        "directory": os.getcwd(),
        "files_max": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "queue": int(os.environ["REACTORD_QUEUE"]),
        "variables": sorted(name for name in os.environ if name.startswith("REACTORD")),
    }
    part = f"{options['report']}.{os.getpid()}"  # Other workers write theirs.
    with open(part, "w") as file:
        json.dump(report, file)
    os.rename(part, options["report"])
if "tied" in options or "deaf" in options:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if "deaf" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.path.exists(options.get("fail-if", "")):
    sys.exit(7)
while os.path.exists(options.get("wait-for", "")):
    time.sleep(0.01)

queue = socket.socket(fileno=int(os.environ.pop("REACTORD_QUEUE")))
lock = threading.Lock()


def say(packet):
    try:
        with lock:
            queue.send(packet.encode())
    except OSError:
        pass  # The supervisor is gone.


def serve(client, number):
    with client:
        try:
            client.sendall(f"worker {os.getpid()}\n".encode())
            for line in client.makefile("r"):
                if line == "socket\n":
                    values = [
                        client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                        client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK),
                    ]
                    line = f"{' '.join(str(min(value, 1)) for value in values)}\n"
                client.sendall(line.encode())
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    say(f"done {number}")
    say("want 1")


say("ready 1")
say(f"want {options.get('at-once', 1)}")
threads, untouched, takes = [], [], int(options.get("takes", 1 << 30))
while True:
    try:
        packet, descriptors, _, _ = socket.recv_fds(queue, 256, 253)
    except ConnectionError:
        break
    word, *rest = packet.decode().split(" ")
    if word in ("", "finish") and "deaf" not in options:
        break
    if word == "":
        signal.pause()
    if word != "connection":
        continue
    client = socket.socket(fileno=descriptors[0])
    client.setblocking(True)
    if takes == 0:
        untouched.append(client)
        continue
    takes -= 1
    say(f"took {rest[0]}")
    threads.append(threading.Thread(target=serve, args=(client, rest[0])))
    threads[-1].start()
if "takes" in options:
    os._exit(0)
for thread in threads:
    thread.join()
