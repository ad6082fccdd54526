"""Programs that run while something is asked of them, on this machine only. Ends only what it has started."""

import os
import socket
import subprocess
import time
from contextlib import contextmanager


@contextmanager
def process(command, log, beginning, environment=None):
    """A program while the block lasts, and what stands behind `beginning` in what it prints."""
    with open(log, "ab") as errors:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if beginning is not None else errors,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield child, said(child, beginning, log) if beginning is not None else None
    finally:
        child.terminate()
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdin.close()


def said(child, beginning, log):
    for line in child.stdout:
        if line.startswith(beginning):
            return line.removeprefix(beginning).strip().rstrip("/")
    raise SystemExit(f"error: {child.args[0]} ended before it gave an address; see {log}")


def free_port():
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until(try_it, child, log, most_s):
    """Waits until a program can be asked, which is when trying it raises no `OSError`."""
    end = time.monotonic() + most_s
    while time.monotonic() < end and child.poll() is None:
        try:
            try_it()
            return
        except OSError:
            time.sleep(0.3)
    raise SystemExit(f"error: {child.args[0]} did not start; see {log}")
