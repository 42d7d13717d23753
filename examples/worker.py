"""A worker that serves one client at a time: it says who serves whom, and echoes. The standard library is all it needs.

    reactord supervise -p 1234 --workers 4 -- python3 examples/worker.py"""
import logging  # A line that nobody reads raises nothing, as print would.
import os
import socket


def serve(client, peer, local):
    client.sendall(f"worker {os.getpid()}, client {peer}, server {local}\n".encode())
    while data := client.recv(4096):
        client.sendall(data)
    client.shutdown(socket.SHUT_RDWR)


with socket.socket(fileno=int(os.environ.pop("REACTORD_QUEUE"))) as queue:
    queue.set_inheritable(False)
    queue.setblocking(True)
    queue.send(b"ready 1")
    try:
        queue.send(b"want 1")
        while True:
            packet, descriptors, flags, _ = socket.recv_fds(queue, 256, 253, socket.MSG_CMSG_CLOEXEC)
            word, *rest = packet.decode("ascii").split(" ")
            clients = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            if word in ("", "finish"):  # An empty packet is the end: the supervisor is gone.
                break
            if word == "connection":
                (number, peer, local), (client,) = rest, clients
                client.setblocking(True)
                queue.send(f"took {number}".encode())
                try:
                    serve(client, peer, local)
                except OSError as error:
                    logging.warning("client %s: %s", peer, error)
                client.close()
                queue.send(f"done {number}".encode())
                queue.send(b"want 1")
    except ConnectionError:
        pass  # The supervisor is gone, and what it has not been told that we took is not ours.
