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
from llama_server import LlamaServer
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
            packages = ["cmake==4.4.5", "ninja==1.13.2", "libclang==18.1.1", "gguf==0.19.0"]
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
    files = models(bench, rival)

    def compare(name, target, kind, rounds, **size):
        best = play(bench, rounds, programs, job(files[kind], 2, **size))
        parts = []
        for program, took in best.items():
            tokens = took["prompt_tokens"] if size["replicates"] == 0 else took["drawn"]
            what = "tokens read" if size["replicates"] == 0 else "tokens drawn"
            parts.append(f"{program} {took['seconds']:.1f} s for {tokens} {what} ({took['cpu_s']:.1f} s of CPU), "
                         f"{took['peak_mb']:.0f} MB")
        if rival:
            own, other = best["own"], best["llama.cpp"]
            parts.append(f"{other['seconds'] / own['seconds']:.2f} × as fast ({other['cpu_s'] / own['cpu_s']:.2f} × by "
                         f"CPU), {own['peak_mb'] / other['peak_mb']:.2f} × the memory")
        bench.note(f"local: {name}, {kind}", target, "; ".join(parts))

    alone = {"questions": 1, "texts": 1, "replicates": 0}
    for kind in files:
        compare("reading 2,100 tokens", "at least as fast", kind, rounds, shots=16, words=97, **alone)
    compare("reading 7,900 tokens", "≤ 1.5 × the memory", "Q4_1", 1, shots=60, words=97, **alone)
    whole = {"shots": 16, "words": 97, "questions": 24, "replicates": 8}
    for kind in files:
        compare("whole job", "≥ 2 × as fast", kind, 1, texts=4, **whole)
    if rival:
        against_server(bench, LlamaServer(rival.python), programs["own"], files["Q8_0"], whole)


def at_once(bench):
    """How many answers are drawn at once: the job in F16 for both programs, and llama.cpp's server by slots in Q8_0."""
    rival = Rival(bench.folder) if bench.others else None
    programs = {"own": ROOT / "target" / "release" / "examples" / "local_job"}
    if rival:
        programs["llama.cpp"] = rival.binary
    files = models(bench, rival)
    size = {"shots": 16, "words": 97, "questions": 12, "replicates": 8}
    for answers in [32, 64, 96]:
        description = job(files["F16"], 2, texts=4, **size)
        description |= {"batch_sequences": answers, "parallel": answers}
        best = play(bench, 1, programs, description)
        took = "; ".join(f"{name} {took['seconds']:.1f} s" for name, took in best.items())
        bench.note(f"at once: {answers} answers, F16", "–", took)
    if rival:
        server = LlamaServer(rival.python)
        description = job(files["Q8_0"], 2, texts=0, **size)
        description["prompt_tokens"] = play(bench, 1, {"own": programs["own"]}, description)["own"]["prompt_tokens"]
        for slots in [8, 16, 32]:
            took = server.draw(description, bench.fresh("llama-server.log"), slots)
            bench.note(f"at once: {slots} slots of the server, Q8_0", "–", f"{took['seconds']:.1f} s, {took['peak_mb']:.0f} MB")


def against_server(bench, server, own, model, size):
    """Drawing alone, beside llama.cpp's server, which cannot score given text."""
    description = job(model, 2, texts=0, **size)
    best = play(bench, 1, {"own": own}, description)["own"]
    description["prompt_tokens"] = best["prompt_tokens"]
    other = server.draw(description, bench.fresh("llama-server.log"))
    parts = [f"{name} {took['seconds']:.1f} s for {took['drawn']} tokens drawn ({took['cpu_s']:.1f} s of CPU), "
             f"{took['peak_mb']:.0f} MB" for name, took in {"own": best, "llama.cpp's server": other}.items()]
    parts.append(f"{other['seconds'] / best['seconds']:.2f} × as fast, {best['peak_mb'] / other['peak_mb']:.2f} × the "
                 "memory")
    bench.note("local: drawing alone, Q8_0", "≥ 2 × as fast", "; ".join(parts))
