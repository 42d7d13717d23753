"""What gunicorn (WSGI) and uvicorn (ASGI) serve in a test, which sets SLOW_S."""
import asyncio
import os
import time

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "3")]


def delay_s(path):
    return float(os.environ["SLOW_S"]) if path == "/slow" else 0


def wsgi(environment, start_response):
    time.sleep(delay_s(environment["PATH_INFO"]))
    start_response("200 OK", HEADERS)
    return [b"ok\n"]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(delay_s(scope["path"]))
        headers = [(name.encode(), value.encode()) for name, value in HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok\n"})
