import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ask, Stage } from "./stage.ts";

const BUILT = new URL("../../dist/dashboard/", import.meta.url);

const TYPES = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
} as const;

const HTML = readFileSync(new URL("index.html", BUILT), "utf8");

/** The paths of the built files, by their ending. */
function pathOf(ending: keyof typeof TYPES): string {
  const name = readdirSync(new URL("assets/", BUILT)).find((found) => found.endsWith(`.${ending}`));
  return `/assets/${name}`;
}

test("the page's files are served with their types, and HEAD gives their sizes", async () => {
  const stage = await new Stage().open();
  for (const ending of ["html", "js", "css", "svg"] as const) {
    const path = ending === "html" ? "/" : pathOf(ending);
    const file = ending === "html" ? "index.html" : path.slice(1);
    const bytes = readFileSync(new URL(file, BUILT), "utf8");
    const { status, headers, body } = await ask(stage.url + path);
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe(TYPES[ending]);
    expect(body).toBe(bytes);
    const head = await ask(stage.url + path, { method: "HEAD" });
    expect(head.body).toBe("");
    expect(head.headers["content-length"]).toBe(String(Buffer.byteLength(bytes)));
  }
});

test("a browser asks again for the document alone, and is told where it is the newest", async () => {
  const stage = await new Stage().open();
  const { headers } = await ask(stage.url);
  expect(headers["cache-control"]).toBe("no-cache");
  const again = await ask(stage.url, { headers: { "If-None-Match": headers["etag"]! } });
  expect(again).toMatchObject({ status: 304, body: "" });
  const script = await ask(stage.url + pathOf("js"));
  expect(script.headers["cache-control"]).toBe("public, max-age=31536000, immutable");
});

test("all that the document asks for is there", async () => {
  const stage = await new Stage().open();
  const paths = [...HTML.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!);
  expect(paths).toHaveLength(3);
  for (const path of paths) expect((await ask(stage.url + path)).status).toBe(200);
});

test("the page holds to its policy: no script, style or handler inside the document, no eval", async () => {
  const stage = await new Stage().open();
  expect(HTML).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|https?:\/\//);
  const { body: script } = await ask(stage.url + pathOf("js"));
  expect(script).not.toMatch(/\beval\(|new Function\(/);
});
