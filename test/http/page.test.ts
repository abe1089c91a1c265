import { readdirSync, readFileSync } from "node:fs";
import { once } from "node:events";
import {
  request,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from "node:http";
import { buffer } from "node:stream/consumers";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { ask, HttpHarness } from "../harness/http-server.ts";

const BUILT = new URL("../../dist/dashboard/", import.meta.url);

const TYPES = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
} as const;

const HTML = readFileSync(new URL("index.html", BUILT), "utf8");

/** Returns the path of the built file with this ending. */
function pathOf(ending: keyof typeof TYPES): string {
  const name = readdirSync(new URL("assets/", BUILT)).find((found) => found.endsWith(`.${ending}`));
  return `/assets/${name}`;
}

test("serves the page's files with their types, and HEAD reports their sizes", async () => {
  const harness = await new HttpHarness().open();
  for (const ending of ["html", "js", "css", "svg"] as const) {
    const path = ending === "html" ? "/" : pathOf(ending);
    const file = ending === "html" ? "index.html" : path.slice(1);
    const bytes = readFileSync(new URL(file, BUILT), "utf8");
    const { status, headers, body } = await ask(harness.url + path);
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe(TYPES[ending]);
    expect(body).toBe(bytes);
    const head = await ask(harness.url + path, { method: "HEAD" });
    expect(head.body).toBe("");
    expect(head.headers["content-length"]).toBe(String(Buffer.byteLength(bytes)));
  }
});

test("browsers revalidate only the document, and get 304 if it is unchanged", async () => {
  const harness = await new HttpHarness().open();
  const { headers } = await ask(harness.url);
  expect(headers["cache-control"]).toBe("no-cache");
  const again = await ask(harness.url, { headers: { "If-None-Match": headers["etag"]! } });
  expect(again).toMatchObject({ status: 304, body: "" });
  const script = await ask(harness.url + pathOf("js"));
  expect(script.headers["cache-control"]).toBe("public, max-age=31536000, immutable");
});

test("compresses files for clients that accept it, with an ETag per encoding", async () => {
  const harness = await new HttpHarness().open();
  const script = pathOf("js");
  const original = readFileSync(new URL(script.slice(1), BUILT));
  const fetched = (path: string, headers: Record<string, string>, method = "GET") =>
    rawAnswer(harness.url + path, { method, headers });
  const decoders = { br: brotliDecompressSync, gzip: gunzipSync };
  const tags = new Set<string>();
  for (const [accepted, coding] of [
    ["gzip, deflate, br, zstd", "br"],
    ["br;q=0.5, gzip", "gzip"],
    ["GZIP", "gzip"],
    ["*", "br"],
    ["identity;q=0.5, *;q=0.1, gzip;q=0.8", "gzip"],
  ] as const) {
    const { headers, body } = await fetched(script, { "Accept-Encoding": accepted });
    expect(headers).toMatchObject({
      "content-encoding": coding,
      "content-length": String(body.length),
      "content-type": TYPES.js,
      "cache-control": "public, max-age=31536000, immutable",
      vary: "Accept-Encoding",
    });
    expect(body.length).toBeLessThan(original.length / 2);
    expect(decoders[coding](body).equals(original)).toBe(true);
    tags.add(headers.etag!);
    const head = await fetched(script, { "Accept-Encoding": accepted }, "HEAD");
    expect([head.headers["content-length"], head.body.length]).toEqual([`${body.length}`, 0]);
    const again = { "Accept-Encoding": accepted, "If-None-Match": `"x", ${headers.etag}` };
    const { status, headers: told, body: none } = await fetched(script, again);
    expect([status, told.vary, told["content-encoding"], none.length]).toEqual([
      ...[304, "Accept-Encoding", undefined, 0],
    ]);
  }
  for (const accepted of ["identity", "deflate, zstd", "br;q=0, gzip;q=0", ""]) {
    const { status, headers, body } = await fetched(script, { "Accept-Encoding": accepted });
    expect([status, headers["content-encoding"], headers.vary]).toEqual([
      ...[200, undefined, "Accept-Encoding"],
    ]);
    expect(body.equals(original)).toBe(true);
    tags.add(headers.etag!);
  }
  expect(tags.size).toBe(3);
  // Range requests are not supported: the file is sent whole.
  const part = await fetched(script, { "Accept-Encoding": "br", Range: "bytes=0-9" });
  expect([part.status, brotliDecompressSync(part.body).equals(original)]).toEqual([200, true]);
  expect((await fetched(`${script}.br`, {})).status).toBe(404);
});

test("serves everything that the document loads", async () => {
  const harness = await new HttpHarness().open();
  const paths = [...HTML.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!);
  expect(paths).toHaveLength(3);
  // Relative, so that the page also works under a path prefix.
  for (const path of paths) {
    expect(path).toMatch(/^\.\//);
    expect((await ask(new URL(path, harness.url).href)).status).toBe(200);
  }
});

test("the page complies with its policy: no inline scripts, styles or handlers, no eval", async () => {
  const harness = await new HttpHarness().open();
  expect(HTML).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|https?:\/\//);
  const { body: script } = await ask(harness.url + pathOf("js"));
  expect(script).not.toMatch(/\beval\(|new Function\(/);
});

interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Resolves with the response as sent, without decompressing it. */
async function rawAnswer(url: string, options: RequestOptions): Promise<RawAnswer> {
  const sent = request(url, options).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return { status: response.statusCode!, headers: response.headers, body: await buffer(response) };
}
