/** Holds the names that pages mention to the code and the generated references, and these to the pages. */

import leven from "leven";
import { describe, expect, test } from "vitest";
import { Document } from "./document.ts";
import { CODES, knownCommands, knownMetrics, knownOptions, ROUTES, VARIABLES } from "./names.ts";

const pages = (await Document.all()).filter(({ path }) => path !== "CHANGELOG.md");
const metrics = new Map((await knownMetrics()).map((metric) => [metric.name, metric]));
const options = await knownOptions();
const commands = await knownCommands();

/** Names of files, modules and packages that begin as metrics do. */
const OTHER_METRIC_LIKE = /^tailgate_log(?:ging)?$/;

/** Files whose names look like keys of `journal`. */
const JOURNAL_FILE = /^journal\.(?:db|lock|mark|reserve|clock|damage)/;

/** The common prefix, and routes of other programs that begin as those of the gateway do. */
const OTHER_ROUTES =
  /^\/(?:(?:api|v1)$|api\/(?:v1|v2|services|traces|prom|monitoring)\b|ws\/monitor$|v1\/(?:sys|metadata|validate)\b)/;

/** Words in capitals that are close to a code, and none. */
const OTHER_CODES = new Set(["JOURNAL_STREAM"]);

/** Commands in prose that are no calls, such as `tailgate` with the name of a subcommand of the future. */
const PROGRAM = /^(?:npx )?tailgate(?: (?<words>.*))?$/s;

/** Commands with commands of their own. */
const GROUPS: ReadonlySet<string | undefined> = new Set(["audit", "token"]);

describe.each(pages)("$path", ({ path, inlineCode }) => {
  const mentioned = [...new Set(inlineCode)];

  test("names metrics that exist", () => {
    const unknown = mentioned.filter((code) => {
      const name = /^(?<name>(?:tailgate|nodejs|process)_[a-z0-9_]+)(?:\{.*\})?$/.exec(code)
        ?.groups?.["name"];
      return name !== undefined && !OTHER_METRIC_LIKE.test(name) && !isMetric(name);
    });
    expect(unknown, `${path}: see docs/operations/metrics.md`).toEqual([]);
  });

  test("names options that exist", () => {
    const unknown = mentioned.filter((code) => {
      const key = /^(?:(?:receivers|processors|exporters)\.|journal\.|http\.)[\w./-]*\w$/.exec(
        code,
      );
      return key !== null && !JOURNAL_FILE.test(code) && !isOption(code);
    });
    expect(unknown, `${path}: see docs/configuration.md`).toEqual([]);
  });

  test("names routes that exist", () => {
    const unknown = mentioned.filter((code) => {
      const route =
        /^(?:(?<method>[A-Z]+) )?(?<route>\/(?:api|v1|ws|healthz|readyz|metrics)\b[^?\s]*)/.exec(
          code,
        );
      if (!route || OTHER_ROUTES.test(route.groups!["route"]!)) return false;
      const methods = ROUTES.get(route.groups!["route"]!);
      const { method } = route.groups!;
      return !methods || (method !== undefined && !methods.includes(method));
    });
    expect(unknown, `${path}: see docs/reference/http-api.md`).toEqual([]);
  });

  test("names error codes that exist", () => {
    const unknown = mentioned.filter(
      (code) =>
        /^[A-Z]{3,}(?:_[A-Z]+)+$/.test(code) &&
        ![...CODES, ...VARIABLES].includes(code) &&
        !OTHER_CODES.has(code) &&
        CODES.some((known) => leven(code, known) <= 3),
    );
    expect(unknown, `${path}: see docs/errors.md`).toEqual([]);
  });

  test("names commands and flags that exist", () => {
    const unknown = mentioned.filter((code) => {
      const words = PROGRAM.exec(code)?.groups?.["words"]?.split(/\s+/);
      return words !== undefined && !isCommand(words);
    });
    expect(unknown, `${path}: see docs/cli.md`).toEqual([]);
  });
});

function isMetric(name: string): boolean {
  const histogram = name.replace(/_(?:bucket|sum|count)$/, "");
  return metrics.has(name) || metrics.get(histogram)?.type === "histogram";
}

/** Components may have a name after their type: `exporters.file/errors.path`. Those of other types are plugins. */
function isOption(code: string): boolean {
  const [section = "", component = "", ...key] = code.split(".");
  const type = component.split("/")[0]!;
  if (options.has([section, type, ...key].join("."))) return true;
  const isComponent = ["receivers", "processors", "exporters"].includes(section);
  return isComponent && !options.has(`${section}.${type}`) && key.length < 2;
}

function isCommand(words: readonly string[]): boolean {
  const isWord = (word: string | undefined): boolean => /^[a-z]+$/.test(word ?? "");
  const [first, second] = words;
  const name = isWord(first)
    ? [first, ...(GROUPS.has(first) && isWord(second) ? [second] : [])]
    : [];
  const command = name.join(" ");
  if (command === "help" || !/^[a-z-]/.test(first ?? "")) return true;
  // A group is mentioned without one of its commands.
  if (GROUPS.has(command) && words.length === 1) return true;
  const flags = commands.get(command);
  if (flags === undefined) return false;
  // Without a command, the flags are those of `run`.
  const known = command === "" ? [...flags, ...commands.get("run")!] : [...flags];
  const given = words.map((word) => word.split("=")[0]!).filter((word) => /^--?[a-z]/i.test(word));
  return given.every((flag) => known.includes(flag));
}

describe("each name of the product is on a page:", () => {
  const prose = pages.map(({ text }) => text).join("\n");
  const named = (names: Iterable<string>, quote = "`"): string[] =>
    [...names].filter((name) => !prose.includes(`${quote}${name}`));

  test("metrics", () => {
    expect(metrics.size).toBeGreaterThan(50);
    expect(named(metrics.keys())).toEqual([]);
  });

  test("options", () => {
    const keys = [...options].map((option) => option.split(".").at(-1)!);
    expect(keys.length).toBeGreaterThan(60);
    expect(named(keys, "")).toEqual([]);
  });

  test("error codes", () => {
    expect(named(CODES, "")).toEqual([]);
  });

  test("commands", () => {
    expect(
      named(
        [...commands.keys()].map((command) => `tailgate ${command}`),
        "",
      ),
    ).toEqual([]);
  });

  test("routes", () => {
    expect(named(ROUTES.keys(), "")).toEqual([]);
  });

  test("environment variables", () => {
    expect(named(VARIABLES, "")).toEqual([]);
  });
});
