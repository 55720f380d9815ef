// What OpenAI's client for Node makes of the answers, as one line of JSON: node ask.mjs BASE_URL MODEL
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const asked = { model, temperature: 0, messages: [{ role: "user", content: "What is a lease?" }] };

const whole = await client.chat.completions.create(asked);

let streamed = "";
let usage = 0;
const chunks = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
for await (const chunk of chunks) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage?.completion_tokens ?? usage;
}

const helper = await client.chat.completions.stream(asked).finalContent();

const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Get the current weather of a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const runner = client.chat.completions.stream({ ...asked, messages, tools });
const { function: call } = (await runner.finalMessage()).tool_calls[0];

let refused = null;
try {
  await client.chat.completions.create({ ...asked, model: "nobody" });
} catch (error) {
  refused = { status: error.status, code: error.code };
}

const listed = [];
for await (const one of client.models.list()) listed.push(one.id);

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    streamed,
    helper,
    usage,
    call: { name: call.name, arguments: JSON.parse(call.arguments) },
    refused,
    models: listed.includes(model),
  }),
);
