/** Posts records as JSON to a URL, such as the incoming webhook of a chat or a service of your own. */

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import {
  defineExporter,
  requestUrl,
  RetryLaterError,
  withSignals,
  z,
  type Batch,
  type EffectiveOption,
  type Exporter,
  type Host,
  type Plan,
  type Written,
} from "tailgate/plugin";
import { createAgent, type Connection } from "./http-client/agent.ts";
import { exchange, refusalOf, type Refusal } from "./http-client/exchange.ts";
import { checkHeaderOption, mergeHeaders } from "./http-client/headers.ts";
import { resolveProxy } from "./http-client/proxy.ts";
import { RejectionLog } from "./http-client/rejection-log.ts";
import type { Setting } from "./http-client/setting.ts";
import {
  FILE_OPTIONS,
  readSecretFile,
  readTlsFiles,
  type FileOption,
} from "./http-client/tls-files.ts";
import { bodyOf, contentTypeOf, requestId, type BodyForm } from "./webhook/request-body.ts";
import { parseSecrets, signatureHeaders } from "./webhook/signature.ts";
import { findTemplateFlaw } from "./webhook/template.ts";

const options = z
  .strictObject({
    url: z
      .url({ protocol: /^https?$/, error: "expected an http or https URL" })
      .describe("URL to post to. Only its scheme, host and port are shown."),
    mode: z
      .enum(["batch", "each"])
      .optional()
      .describe(
        "`batch` sends a list of envelopes in each request, `each` one record. Default: `each` with `body`, else `batch`.",
      ),
    body: z
      .union([z.string().min(1), z.record(z.string(), z.unknown())])
      .optional()
      .superRefine((template, context) => {
        const flaw = findTemplateFlaw(template);
        if (flaw !== undefined) context.addIssue({ code: "custom", message: flaw });
      })
      .describe(
        "Body of the request for a record, with placeholders such as `{message}` in its texts: a mapping is sent as JSON, a text as it is. Default: the envelope.",
      ),
    escape: z
      .enum(["none", "html"])
      .default("none")
      .describe(
        "`html` replaces `&`, `<` and `>` in placeholders by entities, which Slack requires, too.",
      ),
    max_characters: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(2000)
      .describe("Maximum length of the text of a placeholder; a longer one is cut."),
    headers: z
      .record(z.string(), z.string())
      .default({})
      .describe("Headers of each request, such as Authorization. They are never shown."),
    secret: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Secret to sign requests with, as of Standard Webhooks: `whsec_` and base64. Never shown.",
      ),
    secret_file: z
      .string()
      .min(1)
      .optional()
      .describe(
        "File with the secret, instead of `secret`; with several, one a line, each signs. Read before each request, so that it can be replaced.",
      ),
    max_records: z
      .int()
      .min(1)
      .max(10_000)
      .default(100)
      .describe("Maximum number of records of a request in the mode `batch`."),
    max_batch_bytes: z
      .int()
      .min(1)
      .default(1 << 20)
      .describe("Approximate maximum size of a request, in bytes; a larger record is sent alone."),
    certificate: z
      .string()
      .optional()
      .describe(
        "PEM file of the certificate authorities to verify the server with. Default: those of Node.js.",
      ),
    client_certificate: z.string().optional().describe("PEM file of the client certificate."),
    client_key: z.string().optional().describe("PEM file of the client certificate's private key."),
  })
  .refine(({ mode, body }) => mode !== "batch" || body === undefined, {
    path: ["body"],
    message: "a body is for one record: it cannot be combined with the mode batch",
  });

type WebhookOptions = z.output<typeof options>;

export default defineExporter({
  name: "webhook",
  description: "Posts records as JSON to a URL, in batches or one each, signed if you like.",
  options,
  plan,
  open: (given, host) => new WebhookExporter(readTarget(given), given, host),
});

/** Where and how requests are sent. */
interface Target extends Connection {
  readonly headers: Readonly<Record<string, string>>;
  /** Returns the current secrets; none if requests are not signed. */
  readonly secrets: () => Buffer[] | Promise<Buffer[]>;
  readonly proxy: Setting<URL> | undefined;
}

/** The effective options; the path of a URL may be its secret. */
function plan(given: WebhookOptions): Plan {
  const { name, proxy } = readTarget(given);
  const isSecret = new URL(given.url).pathname !== "/";
  const effective: Record<string, EffectiveOption> = {
    url: { value: isSecret ? `${name}/********` : name, source: "option url" },
    mode: { value: modeOf(given), source: given.mode === undefined ? "default" : "option mode" },
  };
  const notes =
    proxy === undefined
      ? []
      : [`Through the proxy ${requestUrl(proxy.value).name}: ${proxy.source}`];
  return { targets: [name], effective, notes };
}

function modeOf({ mode, body }: WebhookOptions): "batch" | "each" {
  return mode ?? (body === undefined ? "batch" : "each");
}

/** @throws Error that names the option that is not valid. */
function readTarget(given: WebhookOptions): Target {
  const { url, authorization } = requestUrl(given.url);
  const files: Partial<Record<FileOption, Setting>> = {};
  for (const option of FILE_OPTIONS) {
    const value = given[option];
    if (value !== undefined) files[option] = { value, source: `option ${option}` };
  }
  const proxy = resolveProxy(url);
  return {
    url,
    name: url.origin,
    headers: mergeHeaders([
      { "Content-Type": contentTypeOf({ template: given.body }) },
      ...(authorization === undefined ? [] : [{ Authorization: authorization }]),
      checkHeaderOption(given.headers).value,
    ]),
    secrets: readSecrets(given),
    proxy,
    ...createAgent(url, readTlsFiles(files), proxy?.value),
  };
}

function readSecrets({ secret, secret_file: file }: WebhookOptions): Target["secrets"] {
  if (file === undefined) {
    const secrets = secret === undefined ? [] : parseSecrets(secret, "secret");
    return () => secrets;
  }
  if (secret !== undefined) throw new Error("secret and secret_file cannot be combined");
  const source = "the file of secret_file";
  const content = readSecretFile({ value: file, source: "option secret_file" }, "a secret");
  parseSecrets(content.toString(), source);
  return async () => parseSecrets(await readFile(resolve(file), "utf8"), source);
}

class WebhookExporter implements Exporter {
  readonly #target: Target;
  readonly #form: BodyForm;
  readonly #recordsMax: number;
  readonly #bytesMax: number;
  readonly #rejections: RejectionLog;
  readonly #closing = new AbortController();
  /** The newest settled record: a batch that is delivered again resumes after it. */
  #settled = 0;

  constructor(target: Target, given: WebhookOptions, host: Host) {
    const { journal, log } = host;
    const isSingle = modeOf(given) === "each";
    this.#target = target;
    this.#form = {
      isSingle,
      template: given.body,
      journal,
      charactersMax: given.max_characters,
      escapesHtml: given.escape === "html",
    };
    this.#recordsMax = isSingle ? 1 : given.max_records;
    this.#bytesMax = given.max_batch_bytes;
    this.#rejections = new RejectionLog(target.name, undefined, log);
    host.sendingTo(target.name);
  }

  async write(batch: Batch, signal: AbortSignal): Promise<Written> {
    const rest = batch.select((index) => batch.sequence(index) > this.#settled);
    await withSignals([signal, this.#closing.signal], (either) => this.#sendAll(rest, either));
    return { dropped: this.#rejections.takeCounts() };
  }

  async #sendAll(batch: Batch, signal: AbortSignal): Promise<void> {
    for (let rest = batch; rest.length > 0;) {
      const part = this.#firstPart(rest);
      await this.#send(part, signal);
      rest = rest.from(part.length);
    }
  }

  #firstPart(batch: Batch): Batch {
    let end = 0;
    for (let bytes = 0; end < batch.length && end < this.#recordsMax; end++) {
      bytes += batch.size(end);
      if (bytes > this.#bytesMax && end > 0) break;
    }
    return batch.select((index) => index < end);
  }

  /** Bisects a rejected part to isolate the records that the destination rejects. */
  async #send(part: Batch, signal: AbortSignal): Promise<void> {
    const refusal = await this.#post(part, signal);
    if (refusal?.kind === "retry") throw this.#retryError(refusal);
    if (refusal !== undefined && part.length > 1) {
      const half = part.length >> 1;
      await this.#send(
        part.select((index) => index < half),
        signal,
      );
      return this.#send(part.from(half), signal);
    }
    if (refusal !== undefined) this.#rejections.addRejected(part.sequence(0), refusal.reason);
    this.#settled = part.sequence(part.length - 1);
  }

  async #post(part: Batch, signal: AbortSignal): Promise<Refusal | undefined> {
    const { headers, secrets } = this.#target;
    const body = bodyOf(part, this.#form);
    const signature = signatureHeaders({ id: requestId(part, this.#form), body }, await secrets());
    return refusalOf(await exchange(this.#target, { ...headers, ...signature }, body, signal));
  }

  #retryError({ reason, retryAfterMs }: Refusal & { kind: "retry" }): Error {
    const text = `${this.#target.name} responded with ${reason}`;
    return retryAfterMs > 0 ? new RetryLaterError(text, retryAfterMs) : new Error(text);
  }

  close(): void {
    this.#closing.abort(new Error("The exporter is closed."));
    this.#target.agent.destroy();
  }
}
