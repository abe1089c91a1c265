import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Endpoint } from "./application.ts";

/** Beside this folder in the sources as in what is published. */
const FOLDER = new URL("../dashboard/", import.meta.url);

/** The page's files, by path. */
const FILES = [
  { path: "/", file: "index.html", type: "text/html; charset=utf-8" },
  { path: "/app.js", file: "app.js", type: "text/javascript; charset=utf-8" },
  { path: "/app.css", file: "app.css", type: "text/css; charset=utf-8" },
  { path: "/icon.svg", file: "icon.svg", type: "image/svg+xml" },
] as const;

export const PAGE_PATHS: readonly string[] = FILES.map(({ path }) => path);

/** The dashboard: files that are read once, at the start. */
export function page(): Endpoint[] {
  return FILES.map(({ path, file, type }) => {
    const bytes = readFileSync(new URL(file, FOLDER));
    const tag = `"${createHash("sha256").update(bytes).digest("base64url")}"`;
    return {
      path,
      answer(context) {
        context.set({ "Content-Type": type, "Cache-Control": "no-cache", ETag: tag });
        context.status = 200;
        if (context.fresh) context.status = 304;
        else context.body = bytes;
      },
    };
  });
}
