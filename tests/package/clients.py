"""Clients of the service seqnum. For each line on standard input, every connection sends a number and wants it back; then
`served N` is said, and at the end of the input how many connections that was."""
import socket
import sys

address, count = ("127.0.0.1", int(sys.argv[1])), int(sys.argv[2])
clients = [socket.create_connection(address, timeout=60) for _ in range(count)]
for number, _ in enumerate(sys.stdin):
    message = number.to_bytes(4, "big")
    for client in clients:
        client.sendall(message)
    for client in clients:
        answer = b""
        while len(answer) < 4:
            more = client.recv(4 - len(answer))
            if not more:
                sys.exit(f"{client.getsockname()} has ended")
            answer += more
        if answer != message:
            sys.exit(f"{client.getsockname()} got {answer!r} for {message!r}")
    print(f"served {count}", flush=True)
