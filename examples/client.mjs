// The whole service with OpenAI's Node library, unmodified: a batch from upload to answers, then one chat that waits for its answer.

import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const model = "millrace-nano";
const ended = new Set(["completed", "failed", "expired", "cancelled"]);
const client = new OpenAI({
  baseURL: `${process.env.MILLRACE_URL ?? "http://127.0.0.1:8080"}/v1`,
  // The library insists on a key; an embedded server on loopback does not look at it.
  apiKey: process.env.MILLRACE_API_KEY ?? "none",
});

async function runBatch(lines) {
  const file = await client.files.create({ file: await toFile(lines, "input.jsonl"), purpose: "batch" });
  console.log(`uploaded ${file.bytes} bytes as ${file.id}`);
  let batch = await client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  console.log(`created ${batch.id}`);

  const deadline = Date.now() + 300_000;
  while (!ended.has(batch.status)) {
    if (Date.now() > deadline) throw new Error(`${batch.id} is still ${batch.status}`);
    await pause(500);
    batch = await client.batches.retrieve(batch.id);
  }
  const counts = batch.request_counts;
  console.log(`${batch.id} is ${batch.status}: ${counts.completed} of ${counts.total} answered, ${counts.failed} failed`);
  if (batch.status !== "completed") throw new Error(JSON.stringify(batch.errors));

  const output = batch.output_file_id ? await (await client.files.content(batch.output_file_id)).text() : "";
  const answers = output.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  for (const answer of answers.slice(0, 3)) {
    console.log(`  ${answer.custom_id}: ${answer.response.body.choices[0].message.content}`);
  }
  if (answers.length !== counts.total) {
    throw new Error(`${counts.total - answers.length} requests have no answer; see ${batch.error_file_id}`);
  }
}

async function chat() {
  const answer = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: document(4) }],
    max_tokens: 256,
  });
  console.log(`chat ${answer.id}: ${answer.choices[0].message.content} (${answer.usage.total_tokens} tokens)`);
}

function exampleLines() {
  const line = (i) => ({
    custom_id: `line-${i}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model, messages: [{ role: "user", content: document(i) }], max_tokens: 256 },
  });
  return Buffer.from([1, 2, 3].map((i) => `${JSON.stringify(line(i))}\n`).join(""));
}

function document(i) {
  const task = "Extract these fields as JSON: vendor, invoice_no, total.";
  return `${task}\n\nHarbour Paper Ltd\nInvoice\nInvoice no: INV-2041${i}\nDate: 2025-03-0${i}\n12 x labels 38.68\nTotal: 46.42 EUR`;
}

await runBatch(process.argv[2] ? await readFile(process.argv[2]) : exampleLines());
await chat();
