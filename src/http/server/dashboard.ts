import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname } from "node:path";
import { packageFile } from "../../runtime/package.ts";
import type { Endpoint } from "./application.ts";
import { acceptedCoding, IDENTITY } from "./content-coding.ts";

/** Vite's output. */
const FOLDER = "dist/dashboard/";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Files in this folder have a hash of their content in their name, so that a URL never changes its content. */
const HASHED = /^assets\//;

/** The content codings of the compressed files, preferred first, and the extensions of those files. */
const CODINGS = [
  ["br", ".br"],
  ["gzip", ".gz"],
] as const;

/** A file in one content coding. */
interface Representation {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Returns the endpoints of the dashboard's files. They are read once, with their compressed forms.
 * @throws TailgateError PACKAGE_INCOMPLETE
 * @throws Error if the dashboard was not built.
 */
export function dashboardEndpoints(): Endpoint[] {
  return fileNames().flatMap((name) => {
    const representations = readRepresentations(name);
    return pathsOf(name).map((path) => fileEndpoint(path, representations));
  });
}

function fileEndpoint(
  path: string,
  representations: ReadonlyMap<string, Representation>,
): Endpoint {
  const codings = [...representations.keys()];
  return {
    path,
    // Files without records; the page asks for a token when its requests are rejected.
    access: "public",
    respond(context) {
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
}

/** Returns the paths of the dashboard's files. */
export function dashboardPaths(): string[] {
  return fileNames().flatMap(pathsOf);
}

/** Reads a file in each of its codings, preferred first. */
function readRepresentations(name: string): Map<string, Representation> {
  const bytes = readFileSync(packageFile(FOLDER + name));
  const tag = createHash("sha256").update(bytes).digest("base64url");
  const common = {
    "Content-Type": TYPES[extname(name)]!,
    "Cache-Control": HASHED.test(name) ? "public, max-age=31536000, immutable" : "no-cache",
    Vary: "Accept-Encoding",
  };
  const representations = new Map<string, Representation>();
  for (const [coding, extension] of CODINGS) {
    const path = packageFile(FOLDER + name + extension);
    if (!existsSync(path)) continue;
    const headers = { ...common, "Content-Encoding": coding, ETag: `"${tag}-${coding}"` };
    representations.set(coding, { bytes: readFileSync(path), headers });
  }
  representations.set(IDENTITY, { bytes, headers: { ...common, ETag: `"${tag}"` } });
  return representations;
}

/** Login links lead to the page of their own path; it is the same file, in the same folder. */
export const LOGIN_PAGE_PATH = "/login";

function pathsOf(name: string): string[] {
  return name === "index.html" ? ["/", LOGIN_PAGE_PATH] : [`/${name}`];
}

function fileNames(): string[] {
  const folder = packageFile(FOLDER);
  try {
    const entries = readdirSync(folder, { recursive: true, encoding: "utf8" });
    return entries
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => extname(name) in TYPES);
  } catch (cause) {
    throw new Error(`The dashboard is not in ${folder}; build it with npm run build.`, { cause });
  }
}
