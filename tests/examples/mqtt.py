"""Two clients of paho: one publishes numbers with QoS 1, the other hears each of them, in order. Each line on standard input
asks whether that goes on. They speak TLS if they are given the file of an authority."""

import queue
import sys
import threading

import paho.mqtt.client as mqtt

port, *authority = sys.argv[1:]
heard = queue.Queue()
ended = threading.Event()


def connect(name, on_message=None):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = on_message
    client.on_disconnect = lambda *_: ended.is_set() or print(name, "was disconnected")
    if authority:
        client.tls_set(ca_certs=authority[0])
    client.connect("localhost", int(port), keepalive=60)
    client.loop_start()
    if on_message:
        client.subscribe("numbers/#", qos=1)
        assert ready.wait(30)
    return client


def publish(publisher):
    number = 0
    while not ended.is_set():
        number += 1
        publisher.publish("numbers/all", str(number), qos=1).wait_for_publish(30)


listener = connect("listener", lambda _client, _data, message: heard.put((int(message.payload), message.qos)))
publisher = connect("publisher")
publishing = threading.Thread(target=publish, args=[publisher], daemon=True)
publishing.start()
expected = 0
for line in sys.stdin:
    # All that was said before this, and one more.
    for _ in range(heard.qsize() + 1):
        expected += 1
        assert heard.get(timeout=30) == (expected, 1), expected
    print("goes on")
ended.set()
publishing.join()
publisher.disconnect()
listener.disconnect()
print("done")
