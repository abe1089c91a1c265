import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { followServiceLink } from "../runtime/log-dir.ts";
import { DEFAULT_FILE, type ConfigFileSource } from "./config-file.ts";
import {
  EnvironmentText,
  readOverrides,
  SETTING_SOURCES,
  substitute,
  type OverrideSources,
} from "./environment.ts";
import { Problems } from "./problems.ts";
import { settingsSchema } from "./settings.ts";

/**
 * Returns the log directory that a configuration names, whatever else is wrong with it: for commands that look for the
 * gateway that runs with it.
 */
export async function findLogDir(sources: ConfigFileSource & OverrideSources): Promise<string> {
  const override = readOverrides({ log_dir: SETTING_SOURCES.log_dir! }, sources).get("log_dir");
  const value = override?.value ?? (await readFromFile(sources));
  const given = value instanceof EnvironmentText ? value.text : value;
  const checked = settingsSchema.shape.log_dir.safeParse(given);
  const logDir = checked.data ?? settingsSchema.shape.log_dir.parse(undefined);
  return followServiceLink(resolve(sources.cwd, logDir), sources.env);
}

/** The parser continues after errors. */
async function readFromFile({ file, cwd, env }: ConfigFileSource & OverrideSources) {
  const path = resolve(cwd, file ?? DEFAULT_FILE);
  const text = await readFile(path, "utf8").catch(() => "");
  const { isMap, parseDocument } = await import("yaml");
  const { contents } = parseDocument(text, { logLevel: "silent", merge: true });
  const value: unknown = isMap(contents) ? contents.get("log_dir") : undefined;
  return substitute(value, env, new Problems());
}
