"""Ann says numbers, in messages of two frames, and Bob and Eve hear each of them, in order. Each line on standard input asks
whether that goes on. When the server closes, all say how it did."""

import asyncio
import sys

import websockets

port = int(sys.argv[1])
heard = asyncio.Event()


async def say(ann):
    number = 0
    try:
        while True:
            number += 1
            await ann.send(["number ", str(number)])
            # One more is on its way, but no more than that.
            await ann.ping() if number % 10 else await (await ann.ping())
    except websockets.ConnectionClosed:
        pass


async def hear(listener):
    number = 0
    async for said in listener:
        number += 1
        assert said == f"Ann: number {number}", (said, number)
        heard.set()


async def main():
    ann, bob, eve = [await websockets.connect(f"ws://127.0.0.1:{port}/{name}") for name in ("Ann", "Bob", "Eve")]
    tasks = [asyncio.create_task(task) for task in (say(ann), hear(bob), hear(eve))]
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        heard.clear()
        await asyncio.wait_for(heard.wait(), 30)
        print("goes on")
    print("listens to the end")
    await asyncio.gather(*tasks)
    for name, client in (("Ann", ann), ("Bob", bob), ("Eve", eve)):
        await client.wait_closed()
        print(name, client.close_code)


asyncio.run(main())
