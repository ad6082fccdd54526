"""Runs programs and measures what they take; starts the scripted server. Ends only what it has started."""

import json
import os
import resource
import statistics
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Use:
    """What one run of a program took.

    `cpu_s` is user and system time of the program and of all its children that it waited for. `peak_mb` is the
    largest resident set that any one of these processes had, in MB of 10^6 bytes: for a tool of several processes
    this is less than it takes in all.
    """

    code: int
    wall_s: float
    user_s: float
    system_s: float
    peak_mb: float

    @property
    def cpu_s(self):
        return self.user_s + self.system_s


def run(command, log, environment=None, folder=None):
    """Runs a command to its end. Its output goes into the file `log`."""
    with open(log, "wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    # `Popen` must not wait for it once more.
    process.returncode = os.waitstatus_to_exitcode(status)
    return Use(
        code=process.returncode,
        wall_s=wall,
        user_s=usage.ru_utime,
        system_s=usage.ru_stime,
        peak_mb=usage.ru_maxrss * 1024 / 1e6,
    )


def checked(use, log):
    """The same use, if the program succeeded."""
    if use.code != 0:
        tail = Path(log).read_text(errors="replace")[-2000:]
        raise SystemExit(f"error: a benchmarked program ended with code {use.code}; see {log}\n{tail}")
    return use


def processor_seconds(pid):
    """User and system time of a process so far, without its children's, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid):
    """The resident set of a process now and at its highest, in MB of 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}
    return found["VmRSS"], found["VmHWM"]


def percentile(values, share):
    """The value that so large a share lies below, without interpolation."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@dataclass
class Server:
    """A scripted server that runs."""

    url: str
    pid: int

    def counters(self):
        """What it has seen so far."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/counters") as reply:
            return json.load(reply)

    def cpu_s(self):
        """Its own processor time so far."""
        return processor_seconds(self.pid)


@contextmanager
def server(binary, *options):
    """A scripted server on a free port of this machine, as a process of its own, while the block lasts."""
    process = subprocess.Popen(
        [str(binary), "--port", "0", *options], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("error: the scripted server did not start")
        yield Server(url, process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def disk_bytes(path):
    """The size of a file, or of all files in a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def medians(uses):
    """The median of each figure of several runs."""
    def of(name):
        return statistics.median(getattr(use, name) for use in uses)

    return Use(0, of("wall_s"), of("user_s"), of("system_s"), of("peak_mb"))


def machine():
    """What the figures were measured on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores, {model}"


def load():
    """The mean number of processes that wanted a core in the last minute."""
    return os.getloadavg()[0]


def raise_file_limit():
    """Hundreds of connections need as many files; tools other than Tiltmeter do not ask for them themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65536), hard))
