import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ask, Stage } from "./stage.ts";

const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/app.js": ["app.js", "text/javascript; charset=utf-8"],
  "/app.css": ["app.css", "text/css; charset=utf-8"],
  "/icon.svg": ["icon.svg", "image/svg+xml"],
} as const;

test("the page's files are served with their types, and HEAD gives their sizes", async () => {
  const stage = await new Stage().open();
  for (const [path, [file, type]] of Object.entries(FILES)) {
    const bytes = readFileSync(new URL(`../../src/dashboard/${file}`, import.meta.url), "utf8");
    const { status, headers, body } = await ask(stage.url + path);
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe(type);
    expect(body).toBe(bytes);
    const head = await ask(stage.url + path, { method: "HEAD" });
    expect(head.body).toBe("");
    expect(head.headers["content-length"]).toBe(String(Buffer.byteLength(bytes)));
  }
});

test("a browser that has the page's newest files is told so", async () => {
  const stage = await new Stage().open();
  const { headers } = await ask(`${stage.url}/app.js`);
  expect(headers["cache-control"]).toBe("no-cache");
  const again = await ask(`${stage.url}/app.js`, {
    headers: { "If-None-Match": headers["etag"]! },
  });
  expect(again).toMatchObject({ status: 304, body: "" });
});

test("the page holds to its policy: no script, style or handler inside the document, no HTML from texts", async () => {
  const stage = await new Stage().open();
  const { body: html } = await ask(stage.url);
  expect(html).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|https?:\/\//);
  const { body: script } = await ask(`${stage.url}/app.js`);
  expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/);
});
