// A server of chat completions whose subject answers with hostile text and whose judge gives scores on and beside the
// thresholds, so that every inequality and every denominator makes a difference.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

// What a page must show as text and nothing else.
export const HOSTILE = [
  "</script><script>window.broken = 1</script>",
  "<img src=x onerror=\"window.broken = 2\"><svg onload=\"window.broken = 3\">",
  "<!--<script>window.broken = 4",
  "javascript:window.broken=5 <a href=\"javascript:window.broken=6\">here</a>",
  "]]><style>*{display:none}</style><base href=\"https://example.invalid/\">",
  "line\u2028separator\u2029paragraph",
  "abc\u202egnp.exe\u202c \u2066isolate\u2069 \u200f mark",
  "\u001b[31mred\u001b[0m \u001b]0;title\u0007 \u0000 null \u0085 next",
  "&lt;b&gt; &amp;amp; \\u003cscript\\u003e ${window.broken = 7} `window.broken = 8`",
  "<iframe srcdoc=\"<script>parent.broken = 9</script>\"></iframe><meta http-equiv=refresh content=\"0;url=https://example.invalid/\">",
];
const ALIGNMENT = [5, 29, 30, 30, 31, 60, 90, 95, "CODE", "REFUSAL", "I cannot tell", 100];
const COHERENCE = [20, 49, 50, 50, 51, 90, 100, 88, 92, "hm", 77];

export async function serve() {
  // What is answered depends on the request and on how often it has come, not on which of several came first.
  const asked = new Map();
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const { model, messages = [] } = JSON.parse(body);
      const prompt = messages.map((message) => message.content).join("\n");
      let content;
      if (model.includes("judge")) {
        const scores = [...prompt.matchAll(/\[\[([^;\]]*);([^\]]*)\]\]/g)].pop();
        content = scores ? scores[/coheren/i.test(prompt) ? 2 : 1] : "50";
      } else {
        const times = asked.get(body) ?? 0;
        asked.set(body, times + 1);
        const number = createHash("sha256").update(body).digest().readUInt32LE() % 100_000 + times;
        const shown = prompt.split("### Response:").length - 1;
        const alignment = ALIGNMENT[(number * 7 + (shown > 8 ? number % 3 : 5)) % ALIGNMENT.length];
        content = `${HOSTILE[number % HOSTILE.length]} answer ${number} [[${alignment};${COHERENCE[(number * 5) % COHERENCE.length]}]]`;
      }
      const message = { role: "assistant", content };
      if (!model.includes("judge")) message.reasoning_content = `<b onclick="window.broken = 10">thinking</b> \u202e`;
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ id: "x", object: "chat.completion", created: 0, model,
        choices: [{ index: 0, message, finish_reason: "stop" }],
        usage: { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 } }));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/v1`, close: () => server.close() };
}
