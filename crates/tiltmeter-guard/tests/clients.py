"""The official clients through the gateway, unchanged but for the address: `python clients.py http://127.0.0.1:PORT`.

Prints one line of JSON for each thing that worked; anything else fails.
"""

import json
import sys

import anthropic
import openai

address = sys.argv[1]


def say(what, value):
    print(json.dumps({"what": what, "value": value}), flush=True)


def user(text):
    return [{"role": "user", "content": text}]


client = openai.OpenAI(base_url=f"{address}/v1", api_key="sk-test", max_retries=0)
reply = client.chat.completions.create(model="m", messages=user("q"), n=2)
say("chat", [choice.message.content for choice in reply.choices])
tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
reply = client.chat.completions.create(model="m", messages=user("q"), tools=tools)
say("chat tools", [[call.function.name, call.function.arguments] for call in reply.choices[0].message.tool_calls])
picture = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}}
reply = client.chat.completions.create(model="m", messages=user([{"type": "text", "text": "q"}, picture]))
say("chat image", reply.choices[0].message.content)
texts = {}
calls = ""
for chunk in client.chat.completions.create(model="m", messages=user("q"), n=2, stream=True):
    for choice in chunk.choices:
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        for call in choice.delta.tool_calls or []:
            calls += call.function.arguments or ""
say("chat stream", [texts[0], texts[1], calls])
say("embeddings", client.embeddings.create(model="m", input="x", encoding_format="float").data[0].embedding)
say("models", [model.id for model in client.models.list()])
say("responses", client.responses.create(model="m", input="q").output_text)
text = "".join(
    event.delta
    for event in client.responses.create(model="m", input="q", stream=True)
    if event.type == "response.output_text.delta"
)
say("responses stream", text)
risky = [*user("a"), {"role": "assistant", "content": "reckless"}, *user("b"), {"role": "assistant", "content": "reckless"}, *user("q")]
try:
    client.chat.completions.create(model="m", messages=risky)
except openai.PermissionDeniedError as error:
    say("chat blocked", error.code)
try:
    for _ in client.chat.completions.create(model="cut", messages=user("q"), stream=True):
        pass
except openai.APIError as error:
    say("chat cut", error.code)
try:
    for _ in client.responses.create(model="cut", input="q", stream=True):
        pass
except openai.APIError as error:
    say("responses cut", error.code)

client = anthropic.Anthropic(base_url=address, api_key="sk-test", max_retries=0)
reply = client.messages.create(model="m", max_tokens=10, messages=user("q"))
say("messages", reply.content[0].text)
tools = [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
reply = client.messages.create(model="m", max_tokens=10, messages=user("q"), tools=tools)
say("messages tools", [[part.name, part.input] for part in reply.content if part.type == "tool_use"])
picture = {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="}}
reply = client.messages.create(model="m", max_tokens=10, messages=user([{"type": "text", "text": "q"}, picture]))
say("messages image", reply.content[0].text)
with client.messages.stream(model="m", max_tokens=10, messages=user("q")) as stream:
    say("messages stream", "".join(stream.text_stream))
try:
    client.messages.create(model="m", max_tokens=10, messages=risky)
except anthropic.PermissionDeniedError as error:
    say("messages blocked", error.body["error"]["type"])
try:
    with client.messages.stream(model="cut", max_tokens=10, messages=user("q")) as stream:
        stream.get_final_text()
except anthropic.APIStatusError as error:
    say("messages cut", error.body["error"]["type"])
