import {
  defineExporter,
  ENVELOPE_TYPES,
  PermanentError,
  RetryLaterError,
  z,
} from "tailgate/plugin";

export default defineExporter({
  name: "json-lines",
  description: "Posts records as JSON lines to a URL.",
  options: z.object({
    url: z.url().describe("Where to post to."),
    authorization: z.string().optional().describe("Value of the Authorization header."),
    type: z.enum(ENVELOPE_TYPES).optional().describe("The only type to post; both by default."),
  }),
  plan: ({ url }) => ({ targets: [url] }),
  open({ url, authorization, type }, host) {
    host.sendingTo(url);
    /** The sequence number of the newest record that the server has confirmed. */
    let confirmed = 0;
    return {
      type,
      async write(batch, signal) {
        if (batch.sequence(0) <= confirmed) return;
        const headers = { "Content-Type": "application/x-ndjson" };
        if (authorization !== undefined) headers.Authorization = authorization;
        const response = await fetch(url, {
          method: "POST",
          headers,
          body: linesOf(batch),
          signal,
        });
        await response.arrayBuffer();
        checkStatus(response);
        confirmed = batch.sequence(batch.length - 1);
      },
    };
  },
});

function linesOf(batch) {
  const parts = [];
  for (let index = 0; index < batch.length; index++) parts.push(batch.bytes(index), LINE_FEED);
  return Buffer.concat(parts);
}

const LINE_FEED = Buffer.from("\n");

function checkStatus({ ok, status, headers }) {
  if (ok) return;
  const message = `The server answered ${status}.`;
  if (status === 400 || status === 413) throw new PermanentError(message);
  const seconds = Number(headers.get("Retry-After"));
  if (seconds > 0) throw new RetryLaterError(message, 1000 * seconds);
  throw new Error(message);
}
