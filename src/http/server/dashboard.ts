import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname } from "node:path";
import { packageFile } from "../../runtime/package.ts";
import type { Endpoint } from "./application.ts";

/** What Vite builds. */
const FOLDER = "dist/dashboard/";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The name of a file in this folder has a hash of its content: there is never another file at its address. */
const HASHED = /^assets\//;

/** The codings of HTTP that the build compresses the files with, the best first, and the endings of those files. */
const CODINGS = [
  ["br", ".br"],
  ["gzip", ".gz"],
] as const;

/** A file as it is sent in one of its codings. */
interface Representation {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The dashboard: files that are read once, at the start, with their compressed forms.
 * @throws TailgateError PACKAGE_INCOMPLETE
 * @throws Error where it was not built.
 */
export function page(): Endpoint[] {
  return fileNames().map((name) => {
    const representations = representationsOf(name);
    const codings = [...representations.keys()];
    return {
      path: pathOf(name),
      answer(context) {
        const coding = acceptedCoding(context.get("Accept-Encoding"), codings);
        const { bytes, headers } = representations.get(coding)!;
        context.set(headers);
        context.status = 200;
        if (context.fresh) {
          context.status = 304;
          context.remove("Content-Encoding");
        } else context.body = bytes;
      },
    };
  });
}

const IDENTITY = "identity";

/**
 * Returns the coding that the client prefers; of those that it likes as much, the first one. A client that takes none
 * of them gets the file as it is (RFC 9110, 12.5.3).
 */
function acceptedCoding(header: string, codings: readonly string[]): string {
  const wanted = new Map(
    header.split(",").map((part) => {
      const [coding, quality] = part
        .trim()
        .toLowerCase()
        .split(/\s*;\s*q=/);
      return [coding!, quality === undefined ? 1 : Number(quality)];
    }),
  );
  // What is not named is worse than all that is.
  const qualityOf = (coding: string): number =>
    wanted.get(coding) ?? (coding === IDENTITY ? Number.MIN_VALUE : (wanted.get("*") ?? 0));
  const [best] = codings
    .filter((coding) => qualityOf(coding) > 0)
    .toSorted((one, other) => qualityOf(other) - qualityOf(one));
  return best ?? IDENTITY;
}

/** By coding, the preferred one first. */
function representationsOf(name: string): Map<string, Representation> {
  const bytes = readFileSync(packageFile(FOLDER + name));
  const tag = createHash("sha256").update(bytes).digest("base64url");
  const common = {
    "Content-Type": TYPES[extname(name)]!,
    "Cache-Control": HASHED.test(name) ? "public, max-age=31536000, immutable" : "no-cache",
    Vary: "Accept-Encoding",
  };
  const representations = new Map<string, Representation>();
  for (const [coding, ending] of CODINGS) {
    const path = packageFile(FOLDER + name + ending);
    if (!existsSync(path)) continue;
    const headers = { ...common, "Content-Encoding": coding, ETag: `"${tag}-${coding}"` };
    representations.set(coding, { bytes: readFileSync(path), headers });
  }
  representations.set(IDENTITY, { bytes, headers: { ...common, ETag: `"${tag}"` } });
  return representations;
}

/** The paths of its files, and of nothing else. */
export function pagePaths(): string[] {
  return fileNames().map(pathOf);
}

function pathOf(name: string): string {
  return name === "index.html" ? "/" : `/${name}`;
}

function fileNames(): string[] {
  const folder = packageFile(FOLDER);
  try {
    const entries = readdirSync(folder, { recursive: true, encoding: "utf8" });
    return entries
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => extname(name) in TYPES);
  } catch (cause) {
    throw new Error(`The page is not in ${folder}; npm run build puts it there.`, { cause });
  }
}
