"""The gateways that are compared: started in front of one upstream, each a process of its own; others are installed first."""

import http.client
import secrets
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from measure import processor_seconds
from processes import free_port, process, wait_until

TENSORZERO = ("tensorzero==2026.6.0", "openai==3.57.0")
# The proxy of 1.110.2 needs a package that the index does not have.
LITELLM = ("litellm[proxy]==1.106.12",)
# LiteLLM's proxy does not start without one. All ways are sent it, so that requests are alike; it lasts for one run.
KEY = f"sk-{secrets.token_hex(32)}"
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
HOST = Path(__file__).resolve().parent / "tasks" / "tensorzero_gateway.py"

GUARD = """
[server]
listen = "127.0.0.1:0"
[[upstreams]]
name = "mock"
base_url = "{url}"
default = true
"""
AUDIT = '[audit]\nfolder = "audit"\nwhen = "{when}"\n'
RULES = """
[[detectors]]
name = "rules"
kind = "rules"
timeout_ms = 5000
[[routes]]
name = "all"
models = ["*"]
detectors = ["rules"]
on_none = ["tag"]
on_low = ["tag"]
on_high = ["tag"]
"""
# What the guard is measured with: names, and what is added to its configuration.
VARIANTS = {
    "guard": "",
    "guard, log behind": AUDIT.format(when="behind"),
    "guard, log before answer": AUDIT.format(when="before-answer"),
}

TENSORZERO_CONFIG = """
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "mock"
api_base = "{url}/"
api_key_location = "none"
"""
LITELLM_CONFIG = """
model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "{url}", api_key: none}}
"""


@dataclass
class Route:
    """A way to the upstream."""

    name: str
    # With its path, without a slash at the end.
    url: str
    # Of the gateway; `None` for the direct way.
    pid: int | None = None
    model: str = "mock"
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self):
        parts = urlsplit(self.url)
        self.path = f"{parts.path}/chat/completions"
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cpu_s(self):
        return processor_seconds(self.pid) if self.pid else 0.0


class Gateways:
    """Starts gateways; tools are installed below `folder` when they are first used."""

    def __init__(self, programs, folder, url):
        self.programs, self.folder, self.url = programs, folder, url

    def _python(self, name, packages):
        environment = self.folder / name
        if not (environment / "installed").is_file():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            subprocess.run([environment / "bin" / "pip", "install", "--quiet", *packages], check=True)
            (environment / "installed").touch()
        return environment / "bin"

    @contextmanager
    def guard(self, place, name, rest):
        place.mkdir()
        config = place / "GUARD.toml"
        config.write_text(GUARD.format(url=self.url) + rest)
        command = [self.programs / "tiltmeter", "guard", "--config", config]
        with process(command, place / "log", "guarding at ") as (child, address):
            yield Route(name, address, child.pid)

    @contextmanager
    def tensorzero(self, place):
        place.mkdir()
        python = self._python("tensorzero", TENSORZERO) / "python"
        config = place / "tensorzero.toml"
        config.write_text(TENSORZERO_CONFIG.format(url=self.url))
        with process([python, HOST, config], place / "log", "address ") as (child, address):
            yield Route("TensorZero", address, child.pid, "tensorzero::model_name::mock")

    @contextmanager
    def litellm(self, place):
        place.mkdir()
        program = self._python("litellm", LITELLM) / "litellm"
        config = place / "litellm.yaml"
        config.write_text(LITELLM_CONFIG.format(url=self.url))
        port = free_port()
        command = [program, "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", "1"]
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(self.folder), "LITELLM_MASTER_KEY": KEY}
        with process(command, place / "log", None, environment) as (child, _):
            listens = lambda: socket.create_connection(("127.0.0.1", port), 1).close()
            wait_until(listens, child, place / "log", 180)
            yield Route("LiteLLM", f"http://127.0.0.1:{port}/v1", child.pid)
