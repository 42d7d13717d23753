"""Numbered frames through several websockets, both ways at once, and pings: each side knows which frame is next, and what is in it.

`server` says on which port it listens. `client PORT` is asked on standard input, line by line, whether that goes on everywhere; at
`end` both sides say how many frames there were, and close."""

import asyncio
import random
import sys

import websockets

SOCKETS = 4
# Whoever does not answer a ping for a minute is gone; the pings of the library itself come besides those below.
KEPT = {"compression": None, "ping_interval": 0.5, "ping_timeout": 60}


def frame(way, number):
    chance = random.Random(f"{way} {number}")
    some = chance.randbytes(2 ** chance.randrange(17))
    return some.hex() if number % 2 else some


async def say(socket, way, stop):
    number = 0
    while not stop.is_set():
        await socket.send(frame(way, number))
        number += 1
        if number % 8 == 0:
            await (await socket.ping(f"{way} {number}"))
    await socket.send(f"end {number}")
    return number


async def hear(socket, way, heard):
    number = 0
    async for said in socket:
        if said == f"end {number}":
            return number
        assert said == frame(way, number), (way, number, len(said), said[:40])
        number += 1
        heard.set()
    raise AssertionError(f"{way} ended after {number} frames: {socket.close_code}")


async def answer(socket):
    stop = asyncio.Event()
    saying = asyncio.create_task(say(socket, "down", stop))
    await hear(socket, "up", asyncio.Event())
    stop.set()
    await saying
    await socket.wait_closed()


async def serve():
    async with websockets.serve(answer, "127.0.0.1", 0, **KEPT) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def ask(port):
    sockets = [await websockets.connect(f"ws://127.0.0.1:{port}/", **KEPT) for _ in range(SOCKETS)]
    stop, heard = asyncio.Event(), [asyncio.Event() for _ in sockets]
    saying = [asyncio.create_task(say(socket, "up", stop)) for socket in sockets]
    hearing = [asyncio.create_task(hear(socket, "down", each)) for socket, each in zip(sockets, heard)]
    lines = asyncio.get_running_loop()
    while (await lines.run_in_executor(None, sys.stdin.readline)).strip() != "end":
        for each in heard:
            each.clear()
        progress = asyncio.gather(*(each.wait() for each in heard))
        done, _ = await asyncio.wait([progress, *hearing], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        print("goes on" if progress in done else f"stands still: {done}", flush=True)
    stop.set()
    said, came = [sum(await asyncio.gather(*each)) for each in (saying, hearing)]
    for socket in sockets:
        await socket.close()
        assert socket.close_code == 1000, socket.close_code
    print(f"{said} frames were sent and {came} came", flush=True)


asyncio.run(serve() if sys.argv[1] == "server" else ask(int(sys.argv[2])))
