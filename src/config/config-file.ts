import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";

/** The file that is read, if it exists, when none is named. */
export const DEFAULT_FILE = "tailgate.yaml";

/** A parsed configuration file, before substitution and validation. */
export interface ConfigFile {
  /** The absolute path; undefined if there is no file. */
  readonly path: string | undefined;
  /** The directory that `use` is resolved against, paths as well as packages. */
  readonly directory: string;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface ConfigFileSource {
  /** The path of the file. Default: `tailgate.yaml` in `cwd`, if `usesDefaultFile`. */
  readonly file?: string | undefined;
  /** The text of the file, if the caller has read it already. */
  readonly text?: string | undefined;
  readonly cwd: string;
}

/**
 * Reads and parses the configuration file.
 * @throws TailgateError CONFIG_UNREADABLE, or CONFIG_INVALID with line and column.
 */
export async function readConfigFile(
  { file, text, cwd }: ConfigFileSource,
  { usesDefaultFile }: { readonly usesDefaultFile: boolean },
): Promise<ConfigFile> {
  if (file === undefined && text !== undefined) {
    return { path: undefined, directory: cwd, values: await parse(text, "configuration") };
  }
  const path = resolve(cwd, file ?? DEFAULT_FILE);
  const mayRead = file !== undefined || usesDefaultFile;
  const content = text ?? (mayRead ? await readText(path, file !== undefined) : undefined);
  if (content === undefined) return { path: undefined, directory: cwd, values: {} };
  return { path, directory: dirname(path), values: await parse(content, path) };
}

async function readText(path: string, isNamed: boolean): Promise<string | undefined> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (error) {
    if (!isNamed && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new TailgateError(
      "CONFIG_UNREADABLE",
      `The configuration file ${path} cannot be read: ${textOf(error)}.`,
      { cause: error },
    );
  }
}

/** The parser is loaded on demand, to save a start without a file the time. */
async function parse(text: string, name: string): Promise<ConfigFile["values"]> {
  const { parseConfig } = await import("./yaml.ts");
  return parseConfig(text, name);
}
