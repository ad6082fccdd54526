"""The gateway beside others, and what it costs: `python3 benches/guard.py`; docs/benchmarks.md says what it measures.

Every figure is of one run: each round asks once on each way, the direct one among them, in an order drawn anew. Linux only.
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateways import HEADERS, RULES, VARIANTS, Gateways, Route
from measure import load, machine, memory_mb, percentile, raise_file_limit
from sender import at_once, at_rate

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("rounds", "shots", "streams", "load", "memory")
# Of the mock server's streams.
DELTAS, PAUSE_MS = 32, 10


def body(model, shots, stream=False):
    """A context of 1,024 shots is 1 MB."""
    turns = []
    for shot in range(shots):
        turns.append({"role": "user", "content": f"Question {shot}: " + "some words " * 24})
        turns.append({"role": "assistant", "content": f"Answer {shot}: " + "other words " * 52})
    turns.append({"role": "user", "content": "And now?"})
    start = {"model": model, "stream": True} if stream else {"model": model}
    return json.dumps({**start, "messages": turns}, separators=(",", ":")).encode()


def post(route, content):
    route.connection.request("POST", route.path, content, HEADERS)
    response = route.connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"error: {route.name} answered {response.status}: {response.read()[:500]}")
    return response


def ask(route, content):
    """Milliseconds to the end of the answer."""
    start = time.perf_counter()
    post(route, content).read()
    return (time.perf_counter() - start) * 1000


def listen(route, content):
    """Milliseconds to the first event of a stream, and between events."""
    start = time.perf_counter()
    response, times, pending = post(route, content), [], b""
    while piece := response.read1(65536):
        now = time.perf_counter()
        pending += piece
        *events, pending = pending.split(b"\n\n")
        times += [now] * sum(b'"content":" word"' in event for event in events)
    if len(times) != DELTAS:
        raise SystemExit(f"error: {route.name} gave {len(times)} of {DELTAS} pieces")
    return (times[0] - start) * 1000, [(b - a) * 1000 for a, b in zip(times, times[1:])]


def in_turn(routes, count, what):
    """What each way gave in each round."""
    found = {route.name: [] for route in routes}
    # What one way does after its answer slows the next one, so that no way may always have the same neighbour.
    order, draw = list(routes), random.Random(0)
    for _ in range(count):
        draw.shuffle(order)
        for route in order:
            found[route.name].append(what(route))
    return found


def added(found, name):
    """Median and 99th percentile of the differences to the direct way in the same round."""
    differences = [through - direct for through, direct in zip(found[name], found["direct"])]
    return statistics.median(differences), percentile(differences, 0.99)


def rounds(routes, shots, count):
    contents = {route.name: body(route.model, shots) for route in routes}
    in_turn(routes, 5, lambda route: ask(route, contents[route.name]))
    before = {route.name: route.cpu_s() for route in routes}
    found = in_turn(routes, count, lambda route: ask(route, contents[route.name]))
    median, high = statistics.median(found["direct"]), percentile(found["direct"], 0.99)
    print(f"{shots} shots, {len(contents['direct']) / 1000:.0f} kB, {count} rounds; "
          f"direct {median:.2f} ms median, {high:.2f} ms p99, load {load():.0f}")
    rows = {"direct": {"ms": median, "p99_ms": high}}
    for route in routes[1:]:
        cpu = (route.cpu_s() - before[route.name]) / count * 1000
        median, high = added(found, route.name)
        rows[route.name] = {"added_ms": median, "added_p99_ms": high, "cpu_ms": cpu}
        print(f"  {route.name:26} added {median:+7.2f} ms median, {high:+7.2f} ms p99; CPU {cpu:6.2f} ms a request")
    return rows


def streams(routes, count):
    contents = {route.name: body(route.model, 0, stream=True) for route in routes}
    found = in_turn(routes, count, lambda route: listen(route, contents[route.name]))
    first = {name: [to_first for to_first, _ in all_of] for name, all_of in found.items()}
    print(f"streams of {DELTAS} pieces, {PAUSE_MS} ms apart, {count} rounds, load {load():.0f}")
    rows = {}
    for route in routes:
        gaps = [gap for _, some in found[route.name] for gap in some]
        median, high = added(first, route.name)
        rows[route.name] = {
            "first_added_ms": median, "first_added_p99_ms": high,
            "gap_ms": statistics.median(gaps), "gap_p99_ms": percentile(gaps, 0.99),
        }
        print(f"  {route.name:26} first piece {median:+7.2f} ms median, {high:+7.2f} ms p99; between pieces "
              f"{statistics.median(gaps):.2f} ms median, {percentile(gaps, 0.99):.2f} ms p99")
    return rows


def open_loop(routes, rate, seconds, times):
    """Requests at fixed times, whether or not earlier ones were answered; waiting for a connection counts."""
    found = {route.name: [] for route in routes}
    before = {route.name: route.cpu_s() for route in routes}
    for index in range(times):
        for route in routes[index % len(routes):] + routes[:index % len(routes)]:
            found[route.name].append(at_rate(route, body(route.model, 0), HEADERS, rate, seconds))
    print(f"open loop at {rate}/s, {times} × {seconds} s each in turn, medians of the runs' percentiles, load {load():.0f}")
    rows = {}
    for route in routes:
        runs = found[route.name]
        of = {
            name: statistics.median(percentile(run, share) for run in runs) for name, share in (("p50", 0.5), ("p99", 0.99))
        }
        cpu = (route.cpu_s() - before[route.name]) / sum(map(len, runs)) * 1000
        rows[route.name] = {**of, "cpu_ms": cpu}
        print(f"  {route.name:26} {of['p50']:8.2f} ms median, {of['p99']:8.2f} ms p99; CPU {cpu:6.2f} ms a request")
    return rows


def memory(route, small, large):
    """The resident set along many requests, eight at once."""
    rows = []
    print(f"memory of {route.name}: {memory_mb(route.pid)[0]:.1f} MB at the start, load {load():.0f}")
    for name, shots, count in (("small", 0, small), ("large", 1024, large)):
        content = body(route.model, shots)
        for part in (count // 10, count - count // 10):
            before = route.cpu_s()
            at_once(route, content, HEADERS, part, 8)
            cpu = (route.cpu_s() - before) / part * 1000
            now, highest = memory_mb(route.pid)
            rows.append({"requests": part, "kind": name, "mb": now, "highest_mb": highest, "cpu_ms": cpu})
            print(f"  after {part} more {name} requests: {now:.1f} MB, highest so far {highest:.1f} MB; "
                  f"CPU {cpu:.2f} ms a request")
    return rows


@contextmanager
def mock(programs):
    command = [programs / "examples" / "mock_upstream", "0", str(DELTAS), str(PAUSE_MS)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield child.stdout.readline().strip()
    finally:
        child.terminate()
        child.wait()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, help="folder of programs that are built already, as target/release")
    parser.add_argument("--keep", type=Path, help="folder that the other tools are installed in and stay in")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--without-others", action="store_true", help="the guard alone")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--small", type=int, default=100_000, help="small requests while memory is watched")
    parser.add_argument("--large", type=int, default=5_000)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def build():
    """Both release programs."""
    for options in (("-p", "tiltmeter"), ("-p", "tiltmeter-guard", "--example", "mock_upstream")):
        subprocess.run(["cargo", "build", "--release", *options], cwd=ROOT, check=True)
    return ROOT / "target" / "release"


def measure(options, folder, stack):
    programs = (options.programs or build()).resolve()
    place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    url = stack.enter_context(mock(programs))
    gateways = Gateways(programs, (options.keep or folder).resolve(), url)
    direct = Route("direct", url)
    off = [
        stack.enter_context(gateways.guard(place / str(index), name, rest))
        for index, (name, rest) in enumerate(VARIANTS.items())
    ]
    rules = stack.enter_context(gateways.guard(place / "rules", "guard, rules", RULES))
    answer = post(rules, body(rules.model, 16))
    answer.read()
    if not answer.getheader("x-tiltmeter-risk"):
        raise SystemExit("error: the guard did not look at a request that its rules are for")
    others = []
    if not options.without_others:
        others = [
            stack.enter_context(gateways.tensorzero(place / "tensorzero")),
            stack.enter_context(gateways.litellm(place / "litellm")),
        ]
    every, found = [direct, *off, *others], {}
    for part in options.only:
        if part == "rounds":
            found[part] = rounds(every, 0, options.rounds)
        elif part == "shots":
            found[part] = [
                rounds([direct, off[0], rules, *others], shots, max(20, options.rounds // 10)) for shots in (16, 1024)
            ]
        elif part == "streams":
            found[part] = streams([direct, off[0], *others], max(5, options.rounds // 50))
        elif part == "load":
            fast = [route for route in every if route.name != "LiteLLM"]
            found[part] = {
                rate: open_loop(routes, rate, 5, 2) for rate, routes in ((20, every), (200, fast))
            }
        else:
            found[part] = {
                route.name: memory(route, options.small, options.large) for route in (off[0], rules)
            }
    return found


def main():
    options = arguments()
    raise_file_limit()
    print(machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = measure(options, folder, stack)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
