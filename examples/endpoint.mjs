// A streamed answer of the endpoint in JavaScript, without a package:
//   specdec serve &
//   node examples/endpoint.mjs
// (A web page needs `specdec serve --allow-origin`.)
const url = process.argv[2] ?? "http://127.0.0.1:8000/v1";
const response = await fetch(`${url}/chat/completions`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({
    messages: [{ role: "user", content: "Tell me a story about a fox." }],
    stream: true, temperature: 0, max_tokens: 60,
  }),
});
if (!response.ok) throw new Error(await response.text());

let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    for (const choice of JSON.parse(line.slice(6)).choices) process.stdout.write(choice.delta.content ?? "");
  }
}
process.stdout.write("\n");
