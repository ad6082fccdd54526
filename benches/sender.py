"""Sends many requests at the same time: at fixed times (an open loop), or so many at once. Answers need a `content-length`."""

import asyncio
import time
from urllib.parse import urlsplit


class Connections:
    """Kept connections to one way, at most so many; a request that finds none free waits for one."""

    def __init__(self, route, content, headers, most):
        parts = urlsplit(route.url)
        self.address, self.name = (parts.hostname, parts.port), route.name
        lines = [f"POST {route.path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.request = "\r\n".join([*lines, "", ""]).encode() + content
        self.free, self.slots = [], asyncio.Semaphore(most)

    async def ask(self):
        async with self.slots:
            reader, writer = self.free.pop() if self.free else await asyncio.open_connection(*self.address)
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
            status, *fields = head.decode("latin-1").lower().split("\r\n")
            length = next(int(field.split(":")[1]) for field in fields if field.startswith("content-length:"))
            answer = await reader.readexactly(length)
            if status.split()[1] != "200":
                raise SystemExit(f"error: {self.name} answered {status}: {answer[:500]}")
            self.free.append((reader, writer))

    def close(self):
        for _, writer in self.free:
            writer.close()


def at_rate(route, content, headers, rate, seconds, most=64):
    """Milliseconds from the time at which each request was due to the end of its answer: what waited counts."""

    async def one(connections, due, found):
        await asyncio.sleep(due - time.perf_counter())
        await connections.ask()
        found.append((time.perf_counter() - due) * 1000)

    async def all_of():
        connections, found = Connections(route, content, headers, most), []
        start = time.perf_counter() + 0.1
        await asyncio.gather(*(one(connections, start + index / rate, found) for index in range(int(rate * seconds))))
        connections.close()
        return found

    return asyncio.run(all_of())


def at_once(route, content, headers, count, most):
    """So many requests, at most `most` at the same time."""

    async def some(connections, left):
        while next(left, None) is not None:
            await connections.ask()

    async def all_of():
        connections, left = Connections(route, content, headers, most), iter(range(count))
        await asyncio.gather(*(some(connections, left) for _ in range(most)))
        connections.close()

    asyncio.run(all_of())
