"""Two clients of redis-py: one counts without end, one listens to what the first publishes. Each word on standard input
asks for the count; what is published must come in order, with nothing lost and nothing twice. They speak TLS if they are
given the file of an authority."""

import sys
import threading

import redis

port, protocol, *authority = sys.argv[1:]
options = {"host": "localhost", "port": int(port), "protocol": int(protocol)}
if authority:
    options |= {"ssl": True, "ssl_ca_certs": authority[0]}
client = redis.Redis(**options)
listener = redis.Redis(**options).pubsub(ignore_subscribe_messages=True)
ended = threading.Event()
heard = threading.Semaphore(0)


def count():
    number = 0
    while not ended.is_set():
        number += 1
        assert client.incr("count") == number
        assert client.set(f"key {number % 100}", number, ex=1000)
        assert client.publish("counted", number) == 1
    client.publish("counted", "end")


def listen():
    number = 0
    for message in listener.listen():
        if message["data"] == b"end":
            return
        number += 1
        assert message["channel"] == b"counted" and int(message["data"]) == number, message
        heard.release()


def checked(work):
    try:
        work()
    except BaseException as error:
        print(f"{work.__name__}: {error!r}")
        raise


listener.subscribe("counted")
assert listener.get_message(timeout=30) is None
threads = [threading.Thread(target=checked, args=[work], daemon=True) for work in (count, listen)]
for thread in threads:
    thread.start()
for line in sys.stdin:
    # What was said before this is heard; then something new is.
    while heard.acquire(blocking=False):
        pass
    heard.acquire()
    print("counts")
ended.set()
for thread in threads:
    thread.join()
for key in client.mget([f"key {number}" for number in range(100)]):
    assert key is None or 1 <= int(key)
assert 0 < client.ttl("key 1") <= 1000
print("done")
