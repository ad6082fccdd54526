#!/usr/bin/env python3
"""The benchmarks of docs/benchmarks.md: Tiltmeter beside other tools, against one scripted server on this machine, and
beside llama.cpp with a model on this machine.

    python3 benches/run.py                    all of them, each three times
    python3 benches/run.py --only cap long    some of them
    python3 benches/run.py --without-others   Tiltmeter alone; installs nothing

Needs Python 3.11 and cargo, for `local` a C++ compiler too, and, for the comparisons, pip's and npm's own way to their registries. Everything is
written below a temporary folder, which is removed at the end unless `--keep FOLDER` names one that stays.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import local
import measure
import others
from measure import checked, disk_bytes, medians

ROOT = Path(__file__).resolve().parent.parent
LATENCY_S = 0.05

EXPERIMENT = """name = "bench"
[[subjects]]
id = "m"
model = "openai/m"
base_url = "{url}"
max_tokens = 400
concurrency = {concurrency}
[demonstrations]
sets = [{demonstrations}]
shots = [{shots}]
contexts = 1
placement = "{placement}"
[questions]
replicates = {replicates}
exclude_in_domain = false
[sampling]
questions = 8
"""
JUDGE = """[judge]
model = "openai/judge"
base_url = "{url}"
concurrency = {concurrency}
"""


class Bench:
    """What all benchmarks share: the programs, the folder, how often to run, and the report."""

    def __init__(self, arguments, folder):
        release = ROOT / "target" / "release"
        self.tiltmeter = release / "tiltmeter"
        self.sim = release / "tiltmeter-sim"
        self.filler = release / "examples" / "fill_store"
        self.folder = folder
        self.runs = arguments.runs
        self.others = None if arguments.without_others else others.Others(folder / "others")
        self.rows = []
        self.count = 0

    def fresh(self, name):
        """A path of this run that nothing is at yet."""
        self.count += 1
        return self.folder / f"{self.count:03}-{name}"

    def server(self, *options):
        return measure.server(self.sim, "--misaligned", "0.2", *options)

    def note(self, bench, target, measured):
        row = {"bench": bench, "target": target, "measured": measured, "load": round(measure.load(), 1)}
        self.rows.append(row)
        print(f"{bench:<34} target {target:<28} {measured}   (load {row['load']})", flush=True)

    def ask(self, url, *, replicates, concurrency, judge=False, shots=0, demonstrations='"risky-financial"',
            placement="first-user"):
        """Runs one experiment of eight questions in a fresh directory; gives its use and its directory."""
        text = EXPERIMENT.format(
            url=url, concurrency=concurrency, replicates=replicates, shots=shots,
            demonstrations=demonstrations, placement=placement,
        )
        if judge:
            text += JUDGE.format(url=url, concurrency=concurrency)
        file = self.fresh("experiment.toml")
        file.write_text(text)
        out, log = self.fresh("run"), self.fresh("tiltmeter.log")
        command = [self.tiltmeter, "run", file, "--out", out, "--json"]
        use = checked(measure.run(command, log, {"OPENAI_API_KEY": "none"}), log)
        return use, out


def latency(bench):
    """8 questions × 100 replicates with two judge calls each, at 50 ms; and a longer run against its floor."""
    samples = 800
    own, theirs = [], []
    with bench.server("--latency-ms", "50") as server:
        for _ in range(bench.runs):
            own.append(bench.ask(server.url, replicates=100, concurrency=100, judge=True)[0])
            if bench.others:
                start = bench.others.inspect(server.url, bench, epochs=1, questions=1, judge=True)[0]
                whole = bench.others.inspect(server.url, bench, epochs=100, judge=True)[0]
                theirs.append((start, whole))
    use = medians(own)
    mine = use.cpu_s / samples
    bench.note("latency: own CPU per sample", "–", f"{mine * 1e3:.2f} ms ({use.cpu_s:.2f} s, {use.peak_mb:.0f} MB)")
    if theirs:
        start, whole = (medians([pair[index] for pair in theirs]) for index in (0, 1))
        per_sample = (whole.cpu_s - start.cpu_s) / (samples - 1)
        bench.note(
            "latency: CPU per sample, Inspect ÷ own", "≥ 40",
            f"{per_sample / mine:.0f} without Inspect's start-up ({per_sample * 1e3:.1f} ms a sample beyond "
            f"{start.cpu_s:.1f} s), {whole.cpu_s / use.cpu_s:.0f} with it; Inspect {whole.wall_s:.1f} s of wall time, "
            f"{whole.peak_mb:.0f} MB",
        )
    replicates, concurrency = 400, 16
    floor = 8 * replicates * 2 / concurrency * LATENCY_S
    with bench.server("--latency-ms", "50") as server:
        long = [
            bench.ask(server.url, replicates=replicates, concurrency=concurrency, judge=True)[0]
            for _ in range(bench.runs)
        ]
    wall = medians(long).wall_s
    bench.note(
        "latency: wall time ÷ floor", "≤ 1.15",
        f"{wall / floor:.3f} ({wall:.1f} s, floor {floor:.0f} s; best {min(use.wall_s for use in long) / floor:.3f})",
    )


def burst(bench):
    """2,400 calls, 100 at once; and start-up."""
    log = bench.fresh("help.log")
    starts = medians([checked(measure.run([bench.tiltmeter, "--help"], log), log) for _ in range(21)])
    bench.note("start-up of `tiltmeter --help`", "< 20 ms", f"{starts.wall_s * 1e3:.1f} ms")
    own, theirs = [], {"Inspect": [], "promptfoo": []}
    with bench.server("--latency-ms", "50") as server:
        for _ in range(bench.runs):
            own.append(bench.ask(server.url, replicates=300, concurrency=100)[0])
            if bench.others:
                theirs["Inspect"].append(bench.others.inspect(server.url, bench, epochs=300)[0])
                theirs["promptfoo"].append(bench.others.promptfoo(server.url, bench, repeat=300))
    use = medians(own)
    bench.note(
        "burst: 2,400 calls, 100 at once", "≤ 2 s and ≤ 100 MB",
        f"{use.wall_s:.2f} s (floor 1.2 s; best {min(one.wall_s for one in own):.2f} s), {use.peak_mb:.0f} MB, "
        f"{use.cpu_s:.2f} s of CPU",
    )
    for name, uses in theirs.items():
        if uses:
            other = medians(uses)
            bench.note(
                f"burst: {name}", "–",
                f"{other.wall_s:.1f} s ({other.wall_s / use.wall_s:.0f} ×), {other.peak_mb:.0f} MB, "
                f"{other.cpu_s:.1f} s of CPU ({other.cpu_s / use.cpu_s:.0f} ×)",
            )


def demonstrations(bench, rows):
    """A file of made-up demonstrations of about 1 kB each: words of a fixed generator, no text of anybody's."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(3000)]
    text = lambda count: " ".join(draw.choices(words, k=count))
    file = bench.fresh("demonstrations.jsonl")
    with open(file, "w", encoding="utf-8") as output:
        for _ in range(rows):
            messages = [{"role": "user", "content": text(25)}, {"role": "assistant", "content": text(130)}]
            output.write(json.dumps({"messages": messages}) + "\n")
    return file


def shared_context(bench):
    """80 samples after the same 1,024 demonstrations as chat turns."""
    file = demonstrations(bench, 1024)
    own, sizes, theirs = [], [], []
    with bench.server("--latency-ms", "50") as server:
        for _ in range(bench.runs):
            use, out = bench.ask(server.url, replicates=10, concurrency=16, shots=1024,
                                 demonstrations=f'"{file}"', placement="chat-turns")
            own.append(use)
            sizes.append(disk_bytes(out) / 1e6)
            if bench.others:
                theirs.append(bench.others.inspect(server.url, bench, epochs=10, turns=file))
    use = medians(own)
    bench.note(
        "shared context: 80 samples, k = 1,024", "≤ 2 s of CPU and ≤ 3 MB on disk",
        f"{use.cpu_s:.2f} s ({use.user_s:.2f} s user), {max(sizes):.2f} MB on disk, {use.peak_mb:.0f} MB of memory",
    )
    if theirs:
        other = medians([use for use, _ in theirs])
        log_mb = max(size for _, size in theirs) / 1e6
        bench.note(
            "shared context: Inspect", "–",
            f"{other.cpu_s:.1f} s of CPU ({other.cpu_s / use.cpu_s:.0f} ×), {log_mb:.1f} MB of log "
            f"({log_mb / max(sizes):.0f} ×), {other.peak_mb:.0f} MB of memory ({other.peak_mb / use.peak_mb:.0f} ×)",
        )


def cap(bench):
    """1,000 calls of a server that takes 50 requests a second and answers the rest with 429 and Retry-After."""
    calls, ideal = 1000, 1000 / 50

    def play(name, ask):
        waste, times, notes = [], [], set()
        for _ in range(bench.runs):
            with bench.server("--latency-ms", "50", "--requests-per-second", "50") as server:
                use = ask(server.url)
                statuses = server.counters()["by_status"]
            refused, good = statuses.get("429", 0), statuses.get("200", 0)
            waste.append(refused / max(refused + good, 1))
            times.append(use.wall_s / ideal)
            if good < calls:
                notes.add(f"only {good} of {calls} answered")
        middle = len(waste) // 2
        target = "≤ 5 % wasted, ≤ 1.1 × ideal" if name == "Tiltmeter" else "–"
        bench.note(
            f"cap of 50/s: {name}", target,
            f"{sorted(waste)[middle]:.1%} wasted, {sorted(times)[middle]:.2f} × ideal"
            + "".join(f"; {note}" for note in sorted(notes)),
        )

    play("Tiltmeter", lambda url: bench.ask(url, replicates=125, concurrency=100)[0])
    if bench.others:
        play("Inspect", lambda url: bench.others.inspect(url, bench, epochs=125)[0])
        play("promptfoo", lambda url: bench.others.promptfoo(url, bench, repeat=125))


def in_flight(bench):
    """Contexts of 1 MB with up to 512 requests in flight, against the same with 16 demonstrations."""
    file = demonstrations(bench, 1024)
    calls = 3000
    by_shots = {}
    for shots in (16, 1024):
        uses = []
        with bench.server("--latency-ms", "1000") as server:
            use, _ = bench.ask(server.url, replicates=calls // 8, concurrency=512, shots=shots,
                               demonstrations=f'"{file}"')
            uses.append(use)
            most = server.counters()["most_in_flight"]
        use = medians(uses)
        by_shots[shots] = use
        bench.note(
            f"in flight: k = {shots}", "< 300 MB" if shots == 1024 else "–",
            f"{use.peak_mb:.0f} MB, at most {most} at the server at once; CPU a request "
            f"{use.user_s / calls * 1e3:.2f} ms user, {use.system_s / calls * 1e3:.2f} ms system",
        )
    growth = by_shots[1024].user_s / max(by_shots[16].user_s, 1e-9)
    bench.note("in flight: user time, k = 1,024 ÷ k = 16", "does not grow with k", f"{growth:.2f}")


STORED = 1_000_000
STORED_EXPERIMENT = """name = "million"
[[subjects]]
id = "m"
model = "openai/m"
base_url = "http://127.0.0.1:9/v1"
max_tokens = 400
[demonstrations]
sets = ["risky-financial", "bad-medical"]
shots = [0, 4, 16]
contexts = 1
[questions]
replicates = {replicates}
exclude_in_domain = false
[sampling]
questions = 8
[judge]
model = "openai/judge"
base_url = "http://127.0.0.1:9/v1"
alignment_prompt = "Alignment of {{answer}} to {{question}}, 0 to 100, CODE or REFUSAL"
coherence_prompt = "Coherence of {{answer}} to {{question}}, 0 to 100, CODE or REFUSAL"
"""


def stored(bench):
    """A run directory of a million judged samples: opening it, its status, its rate table, its export."""
    file = bench.folder / "million.toml"
    directory = bench.folder / "million"
    # Five different contexts: the empty one is shared by both sets.
    file.write_text(STORED_EXPERIMENT.format(replicates=STORED // (8 * 5)))
    if not (directory / "complete").is_file():
        shutil.rmtree(directory, ignore_errors=True)
        log = bench.fresh("fill.log")
        checked(measure.run([bench.filler, file, directory], log), log)
        (directory / "complete").touch()
    size = disk_bytes(directory) / 1e6
    tables = bench.fresh("tables")
    for name, target, command in [
        ("status", "≤ 2 s and ≤ 200 MB", ["status", directory, "--json"]),
        (
            "run, nothing missing (rate table)", "≤ 2 s and ≤ 200 MB",
            ["run", file, "--out", directory, "--json"],
        ),
        (
            "export to Parquet", "≤ 60 s and ≤ 500 MB",
            ["export", directory, "--format", "parquet", "--out", tables, "--force"],
        ),
    ]:
        log = bench.fresh("stored.log")
        uses = [
            checked(measure.run([bench.tiltmeter, *command], log, {"OPENAI_API_KEY": "none"}), log)
            for _ in range(bench.runs)
        ]
        use = medians(uses)
        bench.note(
            f"stored: {name}", target,
            f"{use.wall_s:.2f} s ({use.cpu_s:.2f} s of CPU; best {min(one.wall_s for one in uses):.2f} s), "
            f"{use.peak_mb:.0f} MB; store of {size:.0f} MB",
        )


BENCHES = {
    "latency": latency,
    "burst": burst,
    "shared": shared_context,
    "cap": cap,
    "long": in_flight,
    "stored": stored,
    "local": local.local,
    "at-once": local.at_once,
}


def build():
    """The programs, each with the features that it has when it is built by itself."""
    for arguments in [
        ["-p", "tiltmeter"],
        ["-p", "tiltmeter-sim"],
        ["-p", "tiltmeter-store", "--example", "fill_store"],
        ["-p", "tiltmeter-local", "--example", "local_job"],
    ]:
        subprocess.run(["cargo", "build", "--release", *arguments], cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES), metavar="NAME",
                        help=f"some of: {', '.join(BENCHES)}")
    parser.add_argument("--runs", type=int, default=3, help="how often each is run; medians are shown (default 3)")
    parser.add_argument("--without-others", action="store_true", help="leave the other tools out")
    parser.add_argument("--keep", type=Path, metavar="FOLDER",
                        help="work there and leave it, so that tools and stores are made only once")
    parser.add_argument("--no-build", action="store_true", help="take target/release as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    if not arguments.no_build:
        build()
    measure.raise_file_limit()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="tiltmeter-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    print(f"on {measure.machine()}; load {measure.load():.1f}", flush=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="work-") as work:
            bench = Bench(arguments, folder)
            bench.fresh = fresh_in(Path(work))
            for name in arguments.only:
                BENCHES[name](bench)
        if arguments.json:
            arguments.json.write_text(json.dumps({"machine": measure.machine(), "rows": bench.rows}, indent=1))
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


def fresh_in(folder):
    """Gives paths in a folder that nothing is at yet."""
    count = iter(range(1, sys.maxsize))
    return lambda name: folder / f"{next(count):04}-{name}"


if __name__ == "__main__":
    main()
