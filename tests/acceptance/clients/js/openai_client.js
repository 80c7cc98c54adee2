// An application of the OpenAI SDK for Node, traced by OpenTelemetry.
//
// Asks a model of its own, again and again, and exports to the address it is given, until the file
// that it is given exists. KIND is `json` or `protobuf`, where openllmetry writes all of a call into
// its span, or `events`, where OpenTelemetry's own instrumentation writes a record a message and
// the span has the model.
"use strict";

const { existsSync } = require("node:fs");
const { createServer } = require("node:http");
const { setTimeout: pause } = require("node:timers/promises");
const { registerInstrumentations } = require("@opentelemetry/instrumentation");
const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-http");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");

const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";
const BATCH = { scheduledDelayMillis: 100, maxExportBatchSize: 32 };

const spanExporter = (kind) =>
  require(`@opentelemetry/exporter-trace-otlp-${kind === "protobuf" ? "proto" : "http"}`)
    .OTLPTraceExporter;

const instrumentation = (kind) =>
  kind === "events"
    ? new (require("@opentelemetry/instrumentation-openai").OpenAIInstrumentation)({
        captureMessageContent: true,
      })
    : new (require("@traceloop/instrumentation-openai").OpenAIInstrumentation)();

function model() {
  let answers = 0;
  return createServer((request, response) => {
    request.resume().on("end", () => {
      const number = answers++;
      const message = { role: "assistant", content: `It is number ${number}.` };
      response.setHeader("Content-Type", "application/json");
      response.end(
        JSON.stringify({
          id: `chatcmpl-${number}`,
          object: "chat.completion",
          created: 1700000000,
          model: "gpt-4o-mini",
          choices: [{ index: 0, finish_reason: "stop", message }],
          usage: { prompt_tokens: 9, completion_tokens: 5, total_tokens: 14 },
        }),
      );
    });
  });
}

async function main(endpoint, kind, stop) {
  const server = model();
  await new Promise((listens) => server.listen(0, "127.0.0.1", listens));
  const to = (path) => ({
    url: endpoint + path,
    compression: kind === "json" ? "none" : "gzip",
  });
  const spans = new NodeTracerProvider({
    spanProcessors: [new BatchSpanProcessor(new (spanExporter(kind))(to("/v1/traces")), BATCH)],
  });
  spans.register();
  const logs = new LoggerProvider({
    processors: [new BatchLogRecordProcessor(new OTLPLogExporter(to("/v1/logs")), BATCH)],
  });
  registerInstrumentations({
    tracerProvider: spans,
    loggerProvider: logs,
    instrumentations: [instrumentation(kind)],
  });
  const { OpenAI } = require("openai"); // after what instruments it
  const client = new OpenAI({
    baseURL: `http://127.0.0.1:${server.address().port}/v1`,
    apiKey: "none",
  });
  for (let number = 0; !existsSync(stop); number++) {
    const content = [
      { type: "text", text: `Which is ${number}?` },
      { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } },
    ];
    await client.chat.completions.create({
      model: "gpt-4o-mini",
      messages: [{ role: "user", content }],
    });
    await pause(2);
  }
  // Rejects what is more than thirty batches, which is gone as it is for any application that ends.
  await Promise.allSettled([spans.shutdown(), logs.shutdown()]);
  process.exit(0); // connections that are kept alive would keep it
}

main(...process.argv.slice(2));
