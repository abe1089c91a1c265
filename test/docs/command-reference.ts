import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { repositoryPath } from "./document.ts";

/** In the order of the page. A command that `tailgate --help` lists and that is missing here fails the test. */
const COMMANDS = [
  "run",
  "validate",
  "reload",
  "plugins",
  "redact",
  "tail",
  "pipe",
  "healthcheck",
  "token create",
  "token list",
  "token revoke",
  "audit verify",
];

/** Returns the help of all commands as Markdown. */
export async function commandReference(): Promise<string> {
  const overview = await help("");
  const listed = Array.from(overview.matchAll(/^ {2}([a-z]+) .*$/gm), ([, name]) => name!);
  const missing = listed
    .slice(0, listed.indexOf("help"))
    .filter((name) => !COMMANDS.some((command) => command.split(" ")[0] === name));
  if (missing.length > 0) throw new Error(`Commands without a section: ${missing.join(", ")}`);
  const parts = [section("tailgate", overview)];
  for (const command of COMMANDS) parts.push(section(`tailgate ${command}`, await help(command)));
  return parts.join("\n\n");
}

function section(title: string, text: string): string {
  return `## ${title}\n\n\`\`\`text\n${text.trimEnd()}\n\`\`\``;
}

async function help(command: string): Promise<string> {
  const main = repositoryPath("dist/cli/main.js");
  const words = [...command.split(" ").filter(Boolean), "--help"];
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...words]);
  return stdout;
}
