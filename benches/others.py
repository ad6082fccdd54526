"""The other tools: installed from their public registries into a folder, at fixed versions, and run on equal tasks."""

import subprocess
import sys
from functools import cached_property
from pathlib import Path

from measure import checked, disk_bytes, run

INSPECT = ("inspect-ai==0.3.285", "openai==3.57.0")
PROMPTFOO = "promptfoo@0.121.20"
TASK = Path(__file__).resolve().parent / "tasks" / "inspect_task.py"
CONFIGURATION = Path(__file__).resolve().parent / "tasks" / "promptfoo.json"


class Others:
    """Each tool is installed when it is first used."""

    def __init__(self, folder):
        self.folder = folder

    @cached_property
    def _inspect(self):
        environment = self.folder / "inspect"
        program = environment / "bin" / "inspect"
        if not program.is_file():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            subprocess.run([environment / "bin" / "pip", "install", "--quiet", *INSPECT], check=True)
        return program

    @cached_property
    def _promptfoo(self):
        folder = self.folder / "promptfoo"
        program = folder / "node_modules" / ".bin" / "promptfoo"
        if not program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text("{}")
            command = ["npm", "install", "--no-audit", "--no-fund", "--silent", PROMPTFOO]
            subprocess.run(command, cwd=folder, check=True)
        return program

    def inspect(self, url, bench, *, epochs, questions=8, judge=False, turns=None, connections=100):
        """Gives the use and the size of the log in bytes."""
        logs, log = bench.fresh("inspect-logs"), bench.fresh("inspect.log")
        parameters = {"questions": questions, "judge": str(judge).lower(), "turns": turns or ""}
        command = [
            self._inspect, "eval", TASK.name, "--model", "openai-api/sim/m", "--epochs", str(epochs),
            "--max-connections", str(connections), "--max-samples", str(connections), "--max-tokens", "400",
            "--display", "none", "--log-dir", logs,
        ]
        for name, value in parameters.items():
            command += ["-T", f"{name}={value}"]
        environment = {
            "SIM_BASE_URL": url,
            "SIM_API_KEY": "none",
            "HOME": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # It takes the task's file only by a path relative to where it is started.
        use = checked(run(command, log, environment, TASK.parent), log)
        return use, disk_bytes(logs)

    def promptfoo(self, url, bench, *, repeat, connections=100):
        """Gives the use."""
        text = CONFIGURATION.read_text().replace("BASE_URL", url)
        file, log, out = bench.fresh("promptfoo.json"), bench.fresh("promptfoo.log"), bench.fresh("out.json")
        file.write_text(text)
        command = [
            self._promptfoo, "eval", "-c", file, "--repeat", str(repeat), "--max-concurrency", str(connections),
            "--no-cache", "--no-progress-bar", "--no-table", "-o", out,
        ]
        environment = {
            "OPENAI_API_KEY": "none",
            "PROMPTFOO_CONFIG_DIR": str(bench.fresh("promptfoo-home")),
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
        }
        # It ends with a code of its own where answers are missing, which the counts show.
        return run(command, log, environment, self.folder)
