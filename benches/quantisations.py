"""How far quantised weights move a model's predictions: the default model stored in several kinds of number.

    cargo build --release
    python3 -m venv venv && venv/bin/pip install gguf numpy
    venv/bin/python benches/quantisations.py SmolLM2-135M-Instruct.Q4_1.gguf

The file's weights are dequantised and written as float16, which is the reference, and in each kind again by the `gguf`
package; `tiltmeter model serve` echoes one text with each file. Printed are, over the text's tokens: the share of places
with the same likeliest token, and the mean and greatest absolute difference of the tokens' log-probabilities in nats.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = "F16 BF16 Q8_0 Q5_0 Q4_1 Q4_0".split()
TEXT = (ROOT / "docs" / "statistics.md").read_text()[:1500]


def convert(source: pathlib.Path, kind: str, target: pathlib.Path) -> None:
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        value_type = field.types[0]
        sub_type = field.types[-1] if value_type == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), value_type, sub_type=sub_type)
    number = gguf.GGMLQuantizationType[kind]
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        # What was float32 stays so: norms, and whatever rows no block fits.
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values.astype(np.float32))
        else:
            half = values.astype(np.float16).astype(np.float32)
            data = half if kind == "F32" else quantize(half, number)
            writer.add_tensor(tensor.name, data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def echo(binary: pathlib.Path, file: pathlib.Path) -> tuple[list[float], list[str]]:
    command = [binary, "model", "serve", str(file), "--port", "0", "--served-name", "m"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        base = server.stdout.readline().split(" at ")[1].strip()
        body = {"model": "m", "prompt": TEXT, "max_tokens": 0, "echo": True, "logprobs": 1}
        request = urllib.request.Request(
            f"{base}/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        logprobs = json.load(urllib.request.urlopen(request))["choices"][0]["logprobs"]
    finally:
        server.terminate()
        server.wait()
    return logprobs["token_logprobs"][1:], [next(iter(top)) for top in logprobs["top_logprobs"][1:]]


def main() -> None:
    binary = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "target" / "release" / "tiltmeter"
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for kind in KINDS:
            file = pathlib.Path(folder) / f"{kind}.gguf"
            convert(pathlib.Path(sys.argv[1]), kind, file)
            found[kind] = (file.stat().st_size, *echo(binary, file))
            file.unlink()
    _, values, likeliest = found["F16"]
    print(f"{len(values)} tokens\n| kind | MB | same likeliest token | mean difference | greatest difference |")
    print("| --- | --- | --- | --- | --- |")
    for kind, (size, own, top) in found.items():
        same = np.mean([a == b for a, b in zip(top, likeliest)])
        difference = np.abs(np.array(own) - np.array(values))
        print(f"| {kind} | {size / 1e6:.0f} | {same:.1%} | {difference.mean():.1e} | {difference.max():.1e} |")


main()
