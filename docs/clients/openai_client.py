"""Asks `tiltmeter model serve` through OpenAI's own Python package, unchanged.

    python3 -m venv venv && venv/bin/pip install openai
    tiltmeter model serve smollm2-135m-instruct --port 8321 &
    venv/bin/python docs/clients/openai_client.py http://127.0.0.1:8321/v1
"""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id
print("model:", model)
assert client.models.retrieve(model).id == model

ask = dict(
    model=model,
    messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name three colours."}],
    max_tokens=24,
    seed=7,
    temperature=1.0,
)
whole = client.chat.completions.create(**ask, n=2, logprobs=True, top_logprobs=3)
print("chat:", [choice.message.content for choice in whole.choices])
print("usage:", whole.usage)
assert len(whole.choices) == 2 and whole.choices[0].message.role == "assistant"
assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 3
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

again = client.chat.completions.create(**ask)
assert again.choices[0].message.content == whole.choices[0].message.content, "a seed gives one answer"
assert again.usage.prompt_tokens_details.cached_tokens > 0

text, usage = "", None
for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    text += "".join(choice.delta.content or "" for choice in chunk.choices)
assert text == again.choices[0].message.content and usage.completion_tokens == again.usage.completion_tokens
print("streamed:", repr(text))

stopped = client.chat.completions.create(**{**ask, "temperature": 0}, stop=["\n", "."])
assert "." not in stopped.choices[0].message.content

echo = client.completions.create(model=model, prompt="The sky is blue", max_tokens=1, echo=True, logprobs=2)
logprobs = echo.choices[0].logprobs
print("echo:", list(zip(logprobs.tokens, logprobs.token_logprobs, logprobs.text_offset)))
assert "".join(logprobs.tokens[:-1]) == "The sky is blue" and echo.choices[0].text.startswith("The sky is blue")
pieces = client.completions.create(model=model, prompt="The sky is", max_tokens=4, seed=1, stream=True)
print("completion:", "".join(piece.choices[0].text for piece in pieces))

for error, settings in [
    (openai.NotFoundError, {"model": "another"}),
    (openai.BadRequestError, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
    (openai.BadRequestError, {"top_p": 0.5}),
    (openai.BadRequestError, {"messages": [{"role": "user", "content": "the " * 20_000}]}),
]:
    try:
        client.chat.completions.create(**{**ask, **settings})
        raise SystemExit(f"{settings} was taken")
    except error as refused:
        print("refused:", refused.code, str(refused)[:100])

stream = client.chat.completions.create(**{**ask, "max_tokens": 2000}, stream=True)
next(iter(stream))
stream.close()
client.chat.completions.create(**{**ask, "max_tokens": 1})
print("all well")
