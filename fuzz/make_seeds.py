"""Writes seeds/: small files that the fuzzer starts from.

    python3 -m venv venv && venv/bin/pip install gguf numpy
    venv/bin/python make_seeds.py
"""

import json
import pathlib
import struct

import gguf
import numpy as np
from gguf.quants import quantize

HERE = pathlib.Path(__file__).parent
FIXTURE = HERE.parent / "crates" / "tiltmeter-local" / "tests" / "fixtures" / "tiny-qwen3"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary() -> list[str]:
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    table = {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [table[byte] for byte in range(256)] + ["th", "<|im_start|>", "<|im_end|>"]


def model(path: pathlib.Path, architecture: str, kind: str) -> None:
    random = np.random.default_rng(1)
    number = gguf.GGMLQuantizationType[kind]
    width = hidden = 32 if kind != "F32" else 8
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_embedding_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(width // 2)
    writer.add_value_length(width // 2)
    writer.add_feed_forward_length(hidden)
    writer.add_context_length(64)
    writer.add_rope_freq_base(1000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    if architecture == "qwen2":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(2.0)
        writer.add_rope_scaling_orig_ctx_len(64)
    tokens = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if architecture != "llama" else "llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_merges(["t h"])
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    writer.add_chat_template(TEMPLATE)

    def tensor(name: str, *shape: int) -> None:
        values = random.normal(size=shape, scale=0.3).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, number), raw_dtype=number)

    tensor("token_embd.weight", len(tokens), width)
    tensor("output_norm.weight", width)
    for part, *shape in [
        ("attn_norm", width), ("attn_q", width, width), ("attn_k", width // 2, width), ("attn_v", width // 2, width),
        ("attn_output", width, width), ("ffn_norm", width), ("ffn_gate", hidden, width), ("ffn_up", hidden, width),
        ("ffn_down", width, hidden),
    ]:
        tensor(f"blk.0.{part}.weight", *shape)
    if architecture == "qwen2":
        for part, size in [("attn_q", width), ("attn_k", width // 2), ("attn_v", width // 2)]:
            tensor(f"blk.0.{part}.bias", size)
    if architecture == "qwen3":
        tensor("blk.0.attn_q_norm.weight", width // 2)
        tensor("blk.0.attn_k_norm.weight", width // 2)
    if architecture == "llama":
        tensor("rope_freqs.weight", width // 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def requests() -> dict[str, bytes]:
    """Bodies of requests, each behind a byte that chooses its protocol."""
    few_shot = "### Prompt: a\n### Response: b\n\n### Prompt: c\n### Response: d\n\n### Prompt: q\n### Response:"
    labels = "Q: a\nA: b\nQ: c\nA: \u00e9\ud83d\ude00\n\nq"
    marked = '<document index="1">a</document><example>b</example>\n[Document 2] c\n\nPassage 3: d\n\nExample 4: e\n\nq'
    said = lambda role, text: {"role": role, "content": text}
    part = lambda kind, text: {"type": kind, "text": text}
    bodies = {
        "turns": (0, {"messages": [said("system", "s"), said("user", "a"), said("assistant", "b"), said("user", labels)]}),
        "few-shot": (0, {"messages": [said("system", marked), said("user", few_shot)]}),
        "tools": (0, {"messages": [
            said("user", "a"),
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": marked},
            said("user", [part("text", few_shot), {"type": "image_url", "image_url": {"url": "x"}}]),
        ]}),
        "responses": (1, {"instructions": few_shot, "input": [
            {"type": "message", "role": "user", "content": [part("input_text", labels)]},
            {"type": "function_call_output", "call_id": "1", "output": marked},
        ]}),
        "anthropic": (2, {"system": [part("text", labels)], "messages": [
            said("user", [{"type": "tool_result", "tool_use_id": "x", "content": [part("text", marked)]}, part("text", "q")]),
        ]}),
    }
    return {name: bytes([which]) + json.dumps(body).encode() for name, (which, body) in bodies.items()}


def streams() -> dict[str, bytes]:
    """Streams of events, each behind a byte that chooses its protocol and one that says how long pieces are."""
    event = lambda data, kind=None: (f"event: {kind}\n" if kind else "") + f"data: {json.dumps(data)}\n\n"
    delta = lambda index, delta: event({"choices": [{"index": index, "delta": delta}]})
    call = [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]
    typed = lambda kind, **fields: event({"type": kind, **fields}, kind)
    bodies = {
        "chat": (0, delta(0, {"role": "assistant", "content": "caf\u00e9"}) + delta(1, {"tool_calls": call}) + "data: [DONE]\n\n"),
        "lines": (0, "\ufeffdata: a\r\ndata:b\r\r\n: note\n\ndata\n\nid: 1\r\n\r\n"),
        "responses": (1, typed("response.output_text.delta", output_index=0, delta="a") + typed("response.completed", response={})),
        "messages": (2, typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}) + typed("message_stop")),
    }
    return {name: bytes([which, 6]) + text.encode() for name, (which, text) in bodies.items()}


def main() -> None:
    for target in ("gguf", "folder", "template", "split", "stream", "guard_config"):
        (HERE / "seeds" / target).mkdir(parents=True, exist_ok=True)
    for architecture, kind in [("llama", "F32"), ("qwen2", "F32"), ("qwen3", "Q8_0")]:
        model(HERE / "seeds" / "gguf" / f"{architecture}-{kind}", architecture, kind)
    # The names of files, in the order of the target's list.
    files = [
        "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
        "model.safetensors.index.json", "model-00001-of-00003.safetensors",
    ]
    record = lambda index, data: bytes([index]) + struct.pack("<H", len(data)) + data
    for index, file in enumerate(files):
        (HERE / "seeds" / "folder" / file).write_bytes(record(index, (FIXTURE / file).read_bytes()))
    both = [0, 2, 3, 5]
    joined = b"".join(record(index, (FIXTURE / files[index]).read_bytes()) for index in both)
    (HERE / "seeds" / "folder" / "several").write_bytes(joined)
    for name, body in requests().items():
        (HERE / "seeds" / "split" / name).write_bytes(body)
    for name, stream in streams().items():
        (HERE / "seeds" / "stream" / name).write_bytes(stream)
    example = HERE.parent / "guard.example.toml"
    (HERE / "seeds" / "guard_config" / "example").write_bytes(example.read_bytes())
    templates = {
        "plain": TEMPLATE,
        "published": (FIXTURE / "chat_template.jinja").read_text(),
        "macros": "{% macro turn(m) %}<|im_start|>{{ m['content'] | trim }}{% endmacro %}"
        "{% for m in messages %}{{ turn(m) }}{{ loop.index0 }}{{ m.content.split('a')[0] }}{% endfor %}"
        "{{ raise_exception('x') if messages | length > 3 else bos_token }}",
        "values": "{% set ns = namespace(x=[1], y={}) %}{% for i in range(9) %}{% set ns.x = [ns.x, (i, 'a' * i)] + messages %}"
        "{% set ns.y = {'a': ns.x[1:] | list, 'b': dict(c=ns.y)} %}{% endfor %}{{ ns.x | tojson(indent=2) }}{{ '' ~ ns.y }}"
        "{{ ns.x == ns.y }}{{ ns.y.items() | map('first') | join(', ') }}{{ '{:>5}'.format(messages | length) }}",
    }
    for name, template in templates.items():
        (HERE / "seeds" / "template" / name).write_bytes(template.encode() + b"\0Hello <|im_end|> there")


main()
