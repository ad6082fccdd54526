// The official clients through the gateway, unchanged but for the address: `node clients.mjs http://127.0.0.1:PORT`.
// FOLDER in TILTMETER_CLIENTS_NODE has them in its node_modules.
//
// Prints what clients.py prints: one line of JSON for each thing that worked; anything else fails.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.env.TILTMETER_CLIENTS_NODE, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: OpenAI } = await load("openai");
const { default: Anthropic } = await load("@anthropic-ai/sdk");

const address = process.argv[2];
const say = (what, value) => console.log(JSON.stringify({ what, value }));
const user = (content) => [{ role: "user", content }];

/** What is thrown, which must be of a class of the client's own. */
async function thrown(kind, work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`no ${kind.name} was thrown`);
}

const parameters = { type: "object", properties: {} };
const tools = [{ type: "function", function: { name: "f", parameters } }];
const risky = [...user("a"), { role: "assistant", content: "reckless" }, ...user("b"), { role: "assistant", content: "reckless" }, ...user("q")];

{
  const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "sk-test", maxRetries: 0 });
  const chat = (request) => client.chat.completions.create({ model: "m", messages: user("q"), ...request });
  say("chat", (await chat({ n: 2 })).choices.map((choice) => choice.message.content));
  say("chat tools", (await chat({ tools })).choices[0].message.tool_calls.map((call) => [call.function.name, call.function.arguments]));
  const picture = { type: "image_url", image_url: { url: "data:image/gif;base64,R0lGODlhAQABAAAAACw=" } };
  say("chat image", (await chat({ messages: user([{ type: "text", text: "q" }, picture]) })).choices[0].message.content);
  const texts = {};
  let calls = "";
  for await (const chunk of await chat({ n: 2, stream: true })) {
    for (const choice of chunk.choices) {
      texts[choice.index] = (texts[choice.index] ?? "") + (choice.delta.content ?? "");
      for (const call of choice.delta.tool_calls ?? []) calls += call.function.arguments ?? "";
    }
  }
  say("chat stream", [texts[0], texts[1], calls]);
  say("embeddings", (await client.embeddings.create({ model: "m", input: "x", encoding_format: "float" })).data[0].embedding);
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  say("models", models);
  say("responses", (await client.responses.create({ model: "m", input: "q" })).output_text);
  let text = "";
  for await (const event of await client.responses.create({ model: "m", input: "q", stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  say("responses stream", text);
  say("chat blocked", (await thrown(OpenAI.PermissionDeniedError, () => chat({ messages: risky }))).code);
  say("chat cut", (await thrown(OpenAI.APIError, async () => {
    for await (const _ of await chat({ model: "cut", stream: true }));
  })).code);
  say("responses cut", (await thrown(OpenAI.APIError, async () => {
    for await (const _ of await client.responses.create({ model: "cut", input: "q", stream: true }));
  })).code);
}

{
  const client = new Anthropic({ baseURL: address, apiKey: "sk-test", maxRetries: 0 });
  const asked = (request) => ({ model: "m", max_tokens: 10, messages: user("q"), ...request });
  say("messages", (await client.messages.create(asked())).content[0].text);
  const used = await client.messages.create(asked({ tools: [{ name: "f", input_schema: parameters }] }));
  say("messages tools", used.content.filter((part) => part.type === "tool_use").map((part) => [part.name, part.input]));
  const picture = { type: "image", source: { type: "base64", media_type: "image/gif", data: "R0lGODlhAQABAAAAACw=" } };
  say("messages image", (await client.messages.create(asked({ messages: user([{ type: "text", text: "q" }, picture]) }))).content[0].text);
  say("messages stream", await client.messages.stream(asked()).finalText());
  say("messages blocked", (await thrown(Anthropic.PermissionDeniedError, () => client.messages.create(asked({ messages: risky })))).error.error.type);
  say("messages cut", (await thrown(Anthropic.APIError, () => client.messages.stream(asked({ model: "cut" })).finalText())).error.error.type);
}
