import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { setTimeout } from "node:timers/promises";
import { InvalidArgumentError, type Command } from "commander";
import { isLoopback, resolveConfig, type Config } from "../config/config.ts";
import { maskUrls } from "../config/secrets.ts";
import { READINESS_PATH } from "../http/server/health.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { print, say } from "./output.ts";

interface HealthcheckOptions {
  readonly url?: string;
  readonly config?: string;
  readonly wait: number;
}

/** Shorter than the time limit of container engines and the kubelet, so that the reason is printed. */
const RESPONSE_MS_MAX = 4_000;
const RETRY_MS = 250;
const WAIT_SECONDS_MAX = 86_400;

const EXAMPLES = `
Examples:
  tailgate healthcheck                                    the gateway of ./tailgate.yaml, or of the defaults
  tailgate healthcheck --config /etc/tailgate/tailgate.yaml --wait 60
  tailgate healthcheck --url https://logs.example.com

It asks /readyz, which needs no token. Without --url it asks the address or the socket in the configuration, and the
environment counts as for \`tailgate run\`. A certificate is not verified if the address comes from the configuration or is a loopback
address: it is the public name's, and nothing secret is sent.

Exit codes: 0 if the gateway is ready, 1 if it is not or does not answer; in both cases it prints one line.`;

export function addHealthcheck(program: Command): void {
  program
    .command("healthcheck")
    .description("ask a running gateway whether it is ready, for containers and scripts")
    .option("--url <url>", "URL of the gateway (default: its address in the configuration)")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--wait <seconds>", "retry until it is ready, for at most this long", parseSeconds, 0)
    .addHelpText("after", EXAMPLES)
    .action(healthcheck);
}

async function healthcheck({ url, config, wait }: HealthcheckOptions): Promise<void> {
  const target = url === undefined ? await configuredTarget(config) : givenTarget(url);
  const endMs = performance.now() + 1000 * wait;
  let problem = await findProblem(target);
  while (problem !== undefined && performance.now() + RETRY_MS < endMs) {
    await setTimeout(RETRY_MS);
    problem = await findProblem(target);
  }
  if (problem === undefined) return void print(`ready: ${target.name}\n`);
  say(`not ready: ${target.name}: ${problem}`);
  process.exitCode = 1;
}

interface Target {
  /** What is printed. */
  readonly name: string;
  readonly isTls: boolean;
  readonly options: RequestOptions & { readonly rejectUnauthorized?: boolean };
}

async function configuredTarget(file: string | undefined): Promise<Target> {
  const config = await resolveConfig({ file, flags: {}, env: process.env, cwd: process.cwd() });
  const { port, socket } = config;
  if (port !== null || socket === undefined) return targetOf(new URL(configuredUrl(config)), true);
  const options = { socketPath: socket.path, path: READINESS_PATH };
  return { name: `unix:${socket.path}`, isTls: false, options };
}

/** @throws TailgateError USAGE */
function configuredUrl({ host, port, tls }: Config): string {
  if (port === 0) {
    const text =
      "The configuration has port 0, so that only the gateway knows its port. Pass --url.";
    throw new TailgateError("USAGE", text);
  }
  // What listens on all addresses also listens on loopback.
  const address = { "0.0.0.0": "127.0.0.1", "::": "::1" }[host] ?? host;
  const scheme = tls === undefined ? "http" : "https";
  return `${scheme}://${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** @throws TailgateError USAGE */
function givenTarget(text: string): Target {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol)) {
    return targetOf(url, isLoopback(url.hostname.replace(/^\[(.*)\]$/, "$1")));
  }
  const shown = JSON.stringify(maskUrls(text));
  throw new TailgateError("USAGE", `${shown} is not a gateway URL, such as http://127.0.0.1:8001.`);
}

function targetOf({ protocol, hostname, port, origin, pathname }: URL, isOwn: boolean): Target {
  return {
    name: origin,
    isTls: protocol === "https:",
    options: {
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port,
      path: pathname.replace(/\/$/, "") + READINESS_PATH,
      rejectUnauthorized: !isOwn,
    },
  };
}

/** Resolves with why the gateway is not ready; undefined if it is. */
async function findProblem({ isTls, options }: Target): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const signal = AbortSignal.timeout(RESPONSE_MS_MAX);
  const send = isTls ? httpsRequest : httpRequest;
  send({ ...options, signal }, resolve)
    .on("error", reject)
    .end();
  try {
    const response = await promise;
    const text = (await response.setEncoding("utf8").toArray()).join("");
    return response.statusCode === 200 ? undefined : reasonOf(text, response.statusCode);
  } catch (error) {
    if (signal.aborted) return `no response within ${RESPONSE_MS_MAX / 1000} s`;
    return textOf(error);
  }
}

/** The body is that of /readyz, unless something else answers there. */
function reasonOf(body: string, status: number | undefined): string {
  try {
    const { reason } = JSON.parse(body) as { reason?: unknown };
    if (typeof reason === "string") return reason;
  } catch {
    // The status has to do.
  }
  return `HTTP status ${status}`;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+$/.test(text) || seconds > WAIT_SECONDS_MAX) {
    throw new InvalidArgumentError(`Expected an integer from 0 to ${WAIT_SECONDS_MAX}.`);
  }
  return seconds;
}
