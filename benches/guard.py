"""What the gateway adds to a request: `python3 benches/guard.py target/release [ROUNDS]`.

Rounds of requests, in turn straight to a mock server and through the gateway, on connections that are kept. Prints, for each size
of context, the median and the 99th percentile of the paired differences and the gateway's own processor time per
request (from /proc, so Linux only); for streams, the added time to the first piece; and the gateway's memory at the beginning
and the end. One client at a time: it measures cost, not capacity.
"""

import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

CONFIG = """
[server]
listen = "127.0.0.1:0"
[[upstreams]]
name = "mock"
base_url = "{url}"
default = true
{rest}
"""
AUDIT = '[audit]\nfolder = "audit"\nwhen = "{when}"\n'
VARIANTS = {
    "checks off, no log": "",
    "checks off, log behind": AUDIT.format(when="behind"),
    "checks off, log before answer": AUDIT.format(when="before-answer"),
}


def body(shots, stream):
    turns = []
    for shot in range(shots):
        turns.append({"role": "user", "content": f"Question {shot}: " + "some words " * 20})
        turns.append({"role": "assistant", "content": f"Answer {shot}: " + "other words " * 40})
    turns.append({"role": "user", "content": "And now?"})
    start = {"model": "mock", "stream": True} if stream else {"model": "mock"}
    return json.dumps({**start, "messages": turns}, separators=(",", ":")).encode()


def connect(url):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.connect()
    return connection


def ask(connection, content):
    start = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", content, {"content-type": "application/json"})
    response = connection.getresponse()
    first = response.read1(1)
    to_first = time.perf_counter() - start
    rest = response.read()
    assert response.status == 200 and first and rest is not None, response.status
    return to_first, time.perf_counter() - start


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def compare(direct, through, content, rounds, which):
    for connection in (direct, through):
        ask(connection, content)
    differences = []
    for index in range(rounds):
        order = (direct, through) if index % 2 else (through, direct)
        times = {connection: ask(connection, content)[which] for connection in order}
        differences.append((times[through] - times[direct]) * 1000)
    return statistics.median(differences), percentile(differences, 0.99)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    mock = subprocess.Popen([folder / "examples" / "mock_upstream"], stdout=subprocess.PIPE, text=True)
    url = mock.stdout.readline().strip()
    try:
        for name, rest in VARIANTS.items():
            with tempfile.TemporaryDirectory() as place:
                config = pathlib.Path(place) / "GUARD.toml"
                config.write_text(CONFIG.format(url=url, rest=rest))
                guard = subprocess.Popen(
                    [folder / "tiltmeter", "guard", "--config", config],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                address = guard.stdout.readline().strip().removeprefix("guarding at ")
                print(f"{name}:")
                try:
                    direct, through = connect(url), connect(address)
                    start = memory_mib(guard.pid)
                    for shots in (0, 16, 256, 1024):
                        content = body(shots, False)
                        count = rounds if shots < 256 else max(50, rounds // 10)
                        before = processor_seconds(guard.pid)
                        median, high = compare(direct, through, content, count, 1)
                        cost = (processor_seconds(guard.pid) - before) / (count + 1) * 1000
                        print(
                            f"  {shots:5} shots, {len(content) / 1024:7.0f} KiB: added {median:+.3f} ms median, "
                            f"{high:+.3f} ms p99; processor {cost:.3f} ms a request ({count} pairs)"
                        )
                    median, high = compare(direct, through, body(16, True), max(10, rounds // 100), 0)
                    print(f"  stream: first piece {median:+.3f} ms median, {high:+.3f} ms p99")
                    print(f"  memory: {start:.1f} MiB at the start, {memory_mib(guard.pid):.1f} MiB at the end")
                finally:
                    guard.terminate()
                    guard.wait()
    finally:
        mock.terminate()


if __name__ == "__main__":
    main()
