import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";

/** What is read where no file is named, if it is there. */
const DEFAULT_FILE = "tailgate.yaml";

/** The parsed configuration, before substitution and validation. */
export interface ConfigFile {
  /** Absolute path; undefined where there is no file. */
  readonly path: string | undefined;
  /** Where plugins are looked for, and what paths after `use` are relative to. */
  readonly directory: string;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface ConfigFileSource {
  /** Path of the file; where it is absent, `tailgate.yaml` in `cwd` may count. */
  readonly file?: string | undefined;
  /** The file's text, where the caller has it already. */
  readonly text?: string | undefined;
  readonly cwd: string;
}

/**
 * Reads and parses the configuration file.
 * @throws TailgateError CONFIG_UNREADABLE, or CONFIG_INVALID with line and column.
 */
export async function readConfigFile(
  { file, text, cwd }: ConfigFileSource,
  { takesDefaultFile }: { readonly takesDefaultFile: boolean },
): Promise<ConfigFile> {
  if (file === undefined && text !== undefined) {
    return { path: undefined, directory: cwd, values: await parsed(text, "configuration") };
  }
  const path = resolve(cwd, file ?? DEFAULT_FILE);
  const isWanted = file !== undefined || takesDefaultFile;
  const content = text ?? (isWanted ? await readText(path, file !== undefined) : undefined);
  if (content === undefined) return { path: undefined, directory: cwd, values: {} };
  return { path, directory: dirname(path), values: await parsed(content, path) };
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

/** The parser is loaded where there is a file: a start without one need not wait for it. */
async function parsed(text: string, name: string): Promise<ConfigFile["values"]> {
  const { parseConfig } = await import("./yaml.ts");
  return parseConfig(text, name);
}
