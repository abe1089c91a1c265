import { resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { issueToken, stateOf } from "../auth/tokens/issued-token.ts";
import {
  changeTokensFile,
  defaultTokensFile,
  readTokensFile,
  TOKEN_NAME,
  type StoredToken,
} from "../auth/tokens/tokens-file.ts";
import { resolveConfig } from "../config/config.ts";
import { parseScopes } from "../wire/access-scopes.ts";
import { TailgateError } from "../wire/errors.ts";
import { printable, printableJson, quotedExcerpt } from "../wire/printable.ts";
import { parseExpiry } from "./expiry.ts";
import { print, say } from "./output.ts";

interface FileOptions {
  readonly config?: string;
  readonly tokensFile?: string;
}

interface CreateOptions extends FileOptions {
  readonly name: string;
  readonly scope: readonly string[];
  readonly filter?: string;
  readonly expires: Date | "never";
}

/** Whoever forgets the choice gets a token that does not stay valid for ever. */
const DEFAULT_EXPIRY = "90d";

const CREATE_EXAMPLES = `
Examples:
  TOKEN=$(tailgate token create --name ci --scope ingest)
  tailgate token create --name grafana --scope metrics --expires never
  tailgate token create --name support --scope read:system --filter 'logger:orchestrator.jobs'

The token is printed on stdout, once: the file stores only a hash. Scopes: ingest, read, metrics and admin, or
the narrower ingest:system, ingest:audit, read:system and read:audit. A running gateway accepts the token within a
second. Senders drop their records when their token has expired, so replace it in time.`;

const LIST_EXAMPLES = `
Examples:
  tailgate token list
  tailgate token list --json | jq -r '.[] | select(.state == "expired").name'`;

const REVOKE_EXAMPLES = `
Examples:
  tailgate token revoke ci

A running gateway rejects the token and closes its connections within a second. The name stays taken, because
audit events tell by it who sent them.`;

export function addToken(program: Command): void {
  const token = program
    .command("token")
    .description("create, list and revoke access tokens")
    .addHelpText("after", CREATE_EXAMPLES);
  withFileOptions(token.command("create"))
    .description("create a token and print it")
    .requiredOption("--name <name>", "name of its holder, never used before", parseName)
    .requiredOption("--scope <scope...>", "what it may do: ingest, read, metrics, admin")
    .option("--filter <query>", "read only records that match this query")
    .addOption(
      new Option("--expires <when>", "days (30d), last valid day in UTC (2027-01-31), or never")
        .default(parseExpiry(DEFAULT_EXPIRY), DEFAULT_EXPIRY)
        .argParser((text) => parseExpiry(text)),
    )
    .addHelpText("after", CREATE_EXAMPLES)
    .action(create);
  withFileOptions(token.command("list"))
    .description("list all tokens, without their secrets")
    .option("--json", "print JSON")
    .addHelpText("after", LIST_EXAMPLES)
    .action(list);
  withFileOptions(token.command("revoke"))
    .description("revoke a token for good")
    .argument("<token>", "its name or id")
    .addHelpText("after", REVOKE_EXAMPLES)
    .action(revoke);
}

function withFileOptions(command: Command): Command {
  return command
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--tokens-file <path>", "tokens file (default: auth.tokens_file of the configuration)");
}

function parseName(text: string): string {
  if (TOKEN_NAME.test(text)) return text;
  throw new InvalidArgumentError(
    "Expected up to 64 letters, digits, dots, dashes and underscores, the first one a letter or a digit.",
  );
}

async function create(options: CreateOptions): Promise<void> {
  const { name, scope, filter, expires } = options;
  const { text, stored } = issueToken({
    name,
    scopes: scope,
    filter,
    expires: expires === "never" ? null : expires,
  });
  if (filter !== undefined && !mayRead(scope)) {
    throw new TailgateError("USAGE", "--filter limits what a token reads, and no scope reads.");
  }
  const path = await tokensFile(options);
  await changeTokensFile(path, (tokens) => {
    const holder = tokens.find((token) => token.name === name);
    if (holder === undefined) return { tokens: [...tokens, stored], result: undefined };
    const why = `The name ${name} was used before, by a token in ${path} (${stateOf(holder)}).`;
    throw new TailgateError("USAGE", `${why} Choose another name.`);
  });
  const until = expires === "never" ? "never expires" : `expires on ${stored.expires_at}`;
  say(`created the token ${name} (id ${stored.id}, ${scope.join(", ")}), which ${until}`);
  print(`${text}\n`);
}

function mayRead(scopes: readonly string[]): boolean {
  const granted = parseScopes(scopes);
  return granted.has("read:system") || granted.has("read:audit");
}

async function list({ json = false, ...given }: FileOptions & { json?: boolean }): Promise<void> {
  const path = await tokensFile(given);
  const file = await readTokensFile(path);
  if (file === undefined) say(`there is no tokens file ${path} yet`);
  const tokens = (file?.tokens ?? []).map(listed);
  if (json) {
    const lines = JSON.stringify(tokens, null, 2).split("\n");
    return void print(`${lines.map(printableJson).join("\n")}\n`);
  }
  if (tokens.length > 0) print(tableOf(tokens.map(rowOf)));
}

/** Returns what may be shown of a token: everything but the hash of its secret. */
function listed(token: StoredToken) {
  const { sha256: _hash, ...shown } = token;
  return { ...shown, state: stateOf(token) };
}

const HEADINGS = ["NAME", "ID", "STATE", "SCOPES", "FILTER", "CREATED", "EXPIRES"];

function rowOf(token: ReturnType<typeof listed>): string[] {
  const { name, id, state, scopes, filter = "-", created_at: created, expires_at: expires } = token;
  return [
    name,
    id,
    state,
    scopes.join(","),
    filter,
    created.slice(0, 10),
    expires?.slice(0, 10) ?? "never",
  ].map(printable);
}

/** Returns columns that are as wide as their widest cell. */
function tableOf(rows: readonly string[][]): string {
  const all = [HEADINGS, ...rows];
  const widths = HEADINGS.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

async function revoke(nameOrId: string, given: FileOptions): Promise<void> {
  const path = await tokensFile(given);
  const { name, wasRevoked } = await changeTokensFile(path, (tokens) => {
    // A name may look like the id of another token.
    const token =
      tokens.find(({ name: known }) => known === nameOrId) ??
      tokens.find(({ id }) => id === nameOrId);
    if (token === undefined) {
      const text = `There is no token ${quotedExcerpt(nameOrId)} in ${path}; see \`tailgate token list\`.`;
      throw new TailgateError("USAGE", text);
    }
    const revoked = { ...token, revoked_at: token.revoked_at ?? new Date().toISOString() };
    return {
      tokens: tokens.map((known) => (known === token ? revoked : known)),
      result: { name: token.name, wasRevoked: token.revoked_at !== undefined },
    };
  });
  say(wasRevoked ? `the token ${name} was already revoked` : `revoked the token ${name}`);
}

/** Returns the path of the tokens file that `tailgate run` would use, unless another one was given. */
async function tokensFile({ config: file, tokensFile: given }: FileOptions): Promise<string> {
  if (given !== undefined) {
    if (file === undefined) return resolve(given);
    throw new TailgateError("USAGE", "--config and --tokens-file cannot be combined.");
  }
  const { auth } = await resolveConfig({ file, flags: {}, env: process.env, cwd: process.cwd() });
  if (auth === undefined) {
    say("authentication is off: the configuration has no key auth, so tokens are not checked");
  }
  const path = auth?.tokensFile ?? defaultTokensFile(process.env);
  if (path !== undefined) return path;
  const text = "This user has no home directory for a tokens file: pass --tokens-file.";
  throw new TailgateError("USAGE", text);
}
