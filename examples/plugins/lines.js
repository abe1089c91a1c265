import { createRecord, defineReceiver, TailgateError, z } from "tailgate/plugin";

export default defineReceiver({
  name: "lines",
  description: "Receives lines of text by HTTP POST on the main port, one record each.",
  options: z.object({
    path: z.string().startsWith("/").default("/lines").describe("Path of the endpoint."),
    logger: z.string().min(1).default("orchestrator.lines").describe("Logger of the records."),
    max_body_bytes: z
      .int()
      .min(1)
      .default(1_048_576)
      .describe("Maximum size of a body, in bytes; a larger one is answered with 413."),
  }),
  plan: ({ path }) => ({ paths: [path] }),
  open({ path, logger, max_body_bytes: bytesMax }, { http, intake }) {
    const accept = async (request, response) => {
      const text = await readText(request, bytesMax);
      if (text === undefined) {
        response.writeHead(413).end("The body is too large.\n");
        return;
      }
      const lines = text.split("\n").filter((line) => line !== "");
      const records = lines.map((body) => createRecord({ logger, body }));
      try {
        const result = await intake.records(records, http.accessOf(request));
        response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(result));
      } catch (error) {
        if (!TailgateError.is(error)) throw error;
        const status = { FORBIDDEN: 403, OVERLOADED: 429 }[error.code] ?? 503;
        response.writeHead(status, { "Retry-After": "1" }).end(`${error.message}\n`);
      }
    };
    http.route("POST", path, accept, { access: ["ingest:system", "ingest:audit"] });
    return {};
  },
});

/** Reads the whole body, because a client that is still sending does not see the response; undefined if it is too large. */
async function readText(request, bytesMax) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= bytesMax) chunks.push(chunk);
  }
  return bytes > bytesMax ? undefined : Buffer.concat(chunks).toString();
}
