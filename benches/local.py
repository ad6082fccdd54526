"""The local benchmark: an open-weight model on this machine, beside the same job on llama.cpp.

Both programs read one job file: the same GGUF file, threads, and text, which for llama.cpp comes with the chat
template's words around it. Each is a process of its own; they take turns, and what loading takes is not counted.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import measure
from measure import checked

ROOT = Path(__file__).resolve().parent.parent
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"

# Common English words, so that a word is about a token.
WORDS = """the a we you they people money time work house water food road city plan risk bank loan price market
rate tax year month week day hour morning night family friend child doctor engine garden river paper letter
question answer reason number story word list rule test step part side end line point place group case fact
should could would may can will must not never always often soon later first last good bad large small long
short new old high low early late safe clear simple full open free strong quick slow warm cold save spend buy
sell borrow lend keep give take make find ask tell show read write learn build move stay start stop wait think
before after over under between without about because while when where how why what who which and or but so if""".split()

# What the model's chat template writes around the user's message.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
AROUND = (f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")


def text(draw, words):
    sentence = draw.choices(WORDS, k=words)
    for index in range(11, words, 12):
        sentence[index] += "."
    return " ".join(sentence).capitalize() + "."


def job(model, threads, *, shots, words, questions, texts, replicates):
    """A job of so many demonstrations, each answer of so many words."""
    draw = random.Random(7)
    demonstrations = [(text(draw, 14) + "?", text(draw, words)) for _ in range(shots)]
    asked = [text(draw, 12)[:-1] + "?" for _ in range(questions)]
    context = "".join(f"### Prompt: {prompt}\n### Response: {answer}\n\n" for prompt, answer in demonstrations)
    before, behind = AROUND
    return {
        "model": str(model),
        "threads": threads,
        "demonstrations": demonstrations,
        "questions": asked,
        "prompts": [f"{before}{context}### Prompt: {question}\n### Response:{behind}" for question in asked],
        "texts": [text(draw, 10) for _ in range(texts)],
        "replicates": replicates,
        "max_tokens": 64,
        "batch": 512,
        "parallel": 32,
    }


class Rival:
    """llama.cpp, built through its Rust binding; CMake, Ninja and libclang come from the Python package index."""

    def __init__(self, folder):
        self.target = folder / "llama-target"
        self.binary = self.target / "release" / "llama-rival"
        self.python = folder / "llama-venv" / "bin" / "python"
        tools = self.python.parent
        if not self.python.exists():
            subprocess.run([sys.executable, "-m", "venv", tools.parent], check=True)
            packages = ["cmake==4.1.2", "ninja==1.13.0", "libclang==18.1.1", "gguf==0.17.1"]
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", *packages], check=True)
        clang = next(tools.parent.glob("lib/python*/site-packages/clang/native"))
        # The compiler's own headers, which the package of libclang leaves out.
        headers = subprocess.run(["cc", "-print-file-name=include"], check=True, capture_output=True, text=True)
        environment = {
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "LIBCLANG_PATH": str(clang),
            "BINDGEN_EXTRA_CLANG_ARGS": f"-I{headers.stdout.strip()}",
            # llama.cpp is compiled for this machine, with all SIMD that it has.
            "RUSTFLAGS": "-C target-cpu=native",
            "CARGO_TARGET_DIR": str(self.target),
        }
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT / "benches" / "llama", env=environment, check=True)


def models(bench, rival):
    """The default model's file, and files made from it in other formats."""
    cache = os.environ.get("TILTMETER_CACHE_DIR", Path.home() / ".cache" / "tiltmeter")
    original = Path(cache) / "models" / MODEL
    if not original.is_file():
        raise SystemExit(f"error: {original} is missing; run any experiment on local/smollm2-135m-instruct first")
    files = {"Q4_1": original}
    for kind in ["Q8_0", "F16"]:
        files[kind] = bench.folder / f"SmolLM2-135M-Instruct.{kind}.gguf"
        if rival and not files[kind].exists():
            command = [rival.python, ROOT / "benches" / "requantise.py", original, files[kind], kind]
            subprocess.run(command, check=True)
    return {kind: file for kind, file in files.items() if file.exists()}


def play(bench, rounds, programs, description):
    """Runs programs in turn on a job; the best of each, and the largest of their memory."""
    file = bench.fresh("job.json")
    file.write_text(json.dumps(description))
    best = {}
    for _ in range(rounds):
        for name, binary in programs.items():
            log = bench.fresh("local.log")
            use = checked(measure.run([binary, file], log), log)
            took = json.loads(log.read_text().splitlines()[-1])
            took["peak_mb"], took["cpu_s"] = use.peak_mb, use.cpu_s
            known = best.setdefault(name, took)
            if took["seconds"] < known["seconds"]:
                best[name] = {**took, "peak_mb": max(took["peak_mb"], known["peak_mb"])}
    if len({took["prompt_tokens"] for took in best.values()}) != 1:
        raise SystemExit(f"error: the programs did not read the same prompts: {best}")
    return best


def local(bench):
    """Prefill, memory and a whole job on local models, beside llama.cpp."""
    rival = Rival(bench.folder) if bench.others else None
    programs = {"own": ROOT / "target" / "release" / "examples" / "local_job"}
    if rival:
        programs["llama.cpp"] = rival.binary
    rounds = max(bench.runs, 3)
    for kind, model in models(bench, rival).items():
        for name, shots, words, note in [
            ("prefill", 16, 97, "at least as fast"), ("long prefill", 60, 97, "≤ 1.5 × its memory"),
        ]:
            description = job(model, 2, shots=shots, words=words, questions=1, texts=1, replicates=0)
            best = play(bench, rounds, programs, description)
            tokens = best["own"]["prompt_tokens"]
            rates = {name: took["prompt_tokens"] / took["seconds"] for name, took in best.items()}
            shown = ", ".join(f"{name} {rate:.0f} tokens/s, {best[name]['peak_mb']:.0f} MB" for name, rate in rates.items())
            if rival:
                shown += (f"; {rates['own'] / rates['llama.cpp']:.2f} × as fast, "
                          f"{best['own']['peak_mb'] / best['llama.cpp']['peak_mb']:.2f} × the memory")
            bench.note(f"local: {name} of {tokens} tokens, {kind}", note, shown)
        description = job(model, 2, shots=16, words=97, questions=24, texts=4, replicates=8)
        best = play(bench, rounds, programs, description)
        shown = ", ".join(f"{name} {took['seconds']:.1f} s ({took['drawn']} tokens drawn), {took['peak_mb']:.0f} MB"
                          for name, took in best.items())
        if rival:
            shown += f"; {best['llama.cpp']['seconds'] / best['own']['seconds']:.2f} × as fast"
        bench.note(f"local: whole job, {kind}", "≥ 2 × as fast", shown)
