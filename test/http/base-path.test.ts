import * as fc from "fast-check";
import { expect, test } from "vitest";
import { destinationOf } from "../../src/http/server/base-path.ts";

test.each([
  ["/tailgate/", "/"],
  ["/tailgate/?q=a//b", "/?q=a//b"],
  ["/tailgate/api/logs?cursor=..", "/api/logs?cursor=.."],
  ["/tailgate/tailgate/api", "/tailgate/api"],
  ["/healthz", "/healthz"],
  ["/readyz?verbose", "/readyz?verbose"],
  ["/metrics", "/metrics"],
  ["/tailgate/metrics", "/metrics"],
])("%s leads to %s below /tailgate", (given, target) => {
  expect(destinationOf(given, "/tailgate")).toEqual({ kind: "here", target });
  expect(destinationOf(given, "")).toEqual({ kind: "here", target: given });
});

test.each(["/", "/api/logs", "/tailgateway/", "/Tailgate/", "/healthz/", "*"])(
  "%s is outside of /tailgate",
  (given) => {
    expect(destinationOf(given, "/tailgate")).toEqual({ kind: "outside", target: given });
  },
);

test("the base path without its slash is another page", () => {
  for (const target of ["/tailgate", "/tailgate?q=x"]) {
    expect(destinationOf(target, "/tailgate")).toEqual({ kind: "slash", target });
  }
});

test.each([
  ...["//", "//evil.example/", "/tailgate//api", "/tailgate/../metrics", "/tailgate/./api/logs"],
  ...["/tailgate/..", "/tailgate/api%2Flogs", "/tailgate/%2e%2E/metrics", "/tailgate/api\\logs"],
  ...["/tailgate/api%5clogs", "/tailgate/api/logs%00", "/tailgate/api/logs#x", "/tailgate/\u00e9"],
])("%s is ambiguous", (given) => {
  for (const basePath of ["", "/tailgate"]) {
    expect(destinationOf(given, basePath)).toEqual({ kind: "ambiguous", target: given });
  }
});

test("what is served has the path that every parser of URLs reads", () => {
  const piece = fc.constantFrom(
    "/",
    "//",
    "..",
    ".",
    "%2f",
    "%2E",
    "\\",
    "a",
    "b",
    "tailgate",
    "#",
  );
  fc.assert(
    fc.property(fc.array(piece), fc.constantFrom("", "/tailgate"), (pieces, basePath) => {
      const given = `/${pieces.join("")}`;
      const destination = destinationOf(given, basePath);
      if (destination.kind !== "here") return;
      const { pathname } = new URL(given, "http://localhost");
      expect(given).toBe(pathname);
      expect(decodeURIComponent(pathname)).toBe(pathname);
      expect(given.endsWith(destination.target)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
