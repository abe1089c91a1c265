import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import type { Endpoint } from "./application.ts";

/** What Vite builds. */
const FOLDER = join(
  createRequire(import.meta.url).resolve("tailgate/package.json"),
  "../dist/dashboard/",
);

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The name of a file in this folder has a hash of its content: there is never another file at its address. */
const HASHED = /^assets\//;

/**
 * The dashboard: files that are read once, at the start.
 * @throws Error where it was not built.
 */
export function page(): Endpoint[] {
  return fileNames().map((name) => {
    const bytes = readFileSync(FOLDER + name);
    const headers = {
      "Content-Type": TYPES[extname(name)]!,
      "Cache-Control": HASHED.test(name) ? "public, max-age=31536000, immutable" : "no-cache",
      ETag: `"${createHash("sha256").update(bytes).digest("base64url")}"`,
    };
    return {
      path: name === "index.html" ? "/" : `/${name}`,
      answer(context) {
        context.set(headers);
        context.status = 200;
        if (context.fresh) context.status = 304;
        else context.body = bytes;
      },
    };
  });
}

function fileNames(): string[] {
  try {
    const entries = readdirSync(FOLDER, { recursive: true, encoding: "utf8" });
    return entries
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => extname(name) in TYPES);
  } catch (cause) {
    throw new Error(`The page is not in ${FOLDER}; npm run build puts it there.`, { cause });
  }
}
