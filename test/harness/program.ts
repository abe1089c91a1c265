import { spawn, type ChildProcess, execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { vi, TestRunner, type RunnerTestCase } from "vitest";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";

const TIMEOUT_MS = 30_000;

export interface ProgramOptions {
  readonly cwd: string;
  /** Added to the minimal environment; nothing else of the tests' environment is inherited. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Any program as a user starts it, with its output. Killed at the end of its scope. */
export class Program implements AsyncDisposable {
  stdout = "";
  stderr = "";
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly process: ChildProcess;

  /** `node` is the Node that runs the tests, and so it is for programs that begin with `#!/usr/bin/env node`. */
  constructor(command: string, args: readonly string[], { cwd, env = {} }: ProgramOptions) {
    const path = `${dirname(process.execPath)}:${process.env["PATH"]}`;
    this.process = spawn(command, args, {
      cwd,
      env: {
        PATH: path,
        HOME: process.env["HOME"],
        XDG_CONFIG_HOME: process.env["XDG_CONFIG_HOME"],
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.process.stdout!.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.process.stderr!.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    const { promise, resolve, reject } = Promise.withResolvers<number | NodeJS.Signals>();
    this.process.on("error", reject);
    this.process.on("close", (code, signal) => resolve(code ?? signal!));
    this.ended = promise;
  }

  /** Runs a program, which must succeed; returns its stdout. */
  static async run(
    command: string,
    args: readonly string[],
    options: ProgramOptions,
  ): Promise<string> {
    await using program = new Program(command, args, options);
    const end = await program.ended;
    if (end === 0) return program.stdout;
    const words = [command, ...args].join(" ");
    throw new Error(`${words} ended with ${end}:\n${program.stdout}\n${program.stderr}`);
  }

  /** Resolves with the match when stderr contains the pattern. */
  untilStderr(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.#found(pattern, () => this.stderr);
  }

  /** Resolves with the match when stdout contains the pattern. */
  untilStdout(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.#found(pattern, () => this.stdout);
  }

  #found(pattern: RegExp, text: () => string): Promise<RegExpMatchArray> {
    const find = (): RegExpMatchArray => {
      const match = pattern.exec(text());
      if (match) return match;
      throw new Error(`${pattern} was not written, but:\n${this.stdout}${this.stderr}`);
    };
    return vi.waitFor(find, { timeout: TIMEOUT_MS, interval: 20 });
  }

  /** Sends SIGTERM; resolves with the exit code or signal. */
  async end(): Promise<number | NodeJS.Signals> {
    this.process.kill("SIGTERM");
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.ended;
  }
}

/**
 * Skips the running test because this machine cannot run it, with instructions. In CI it fails
 * instead: a skipped test must not look like a passed one.
 */
export function skipTest(text: string, cause?: unknown): never {
  if (process.env["CI"]) throw new Error(text, { cause });
  return skipAnywhere(text);
}

/** Skips the running test, in CI too, because of what the machine does not allow. CI counts it before its last line. */
export function skipAnywhere(text: string): never {
  console.warn(`SKIPPED: ${text}`);
  return TestRunner.getCurrentTest<RunnerTestCase>().context.skip(text);
}

/** Skips the running test if a program is missing, which an npm script installs. */
export async function requireProgram(
  name: string,
  debianPackage: string,
  script = "setup:crash",
): Promise<void> {
  try {
    await promisify(execFile)(name, ["--version"]);
  } catch (error) {
    const text = `${name} is missing, which this test needs: npm run ${script}, or apt-get install ${debianPackage}`;
    skipTest(text, error);
  }
}

/** Returns the path of a program or a daemon of Debian. Skips the running test if it is missing. */
export async function requireInstalled(name: string, debianPackage: string): Promise<string> {
  const find = `PATH="$PATH:/usr/sbin:/sbin"; command -v ${name}`;
  try {
    return (await promisify(execFile)("sh", ["-c", find])).stdout.trim();
  } catch (error) {
    const text = `${name} is missing, which this test needs: npm run setup:docs, or apt-get install ${debianPackage}`;
    return skipTest(text, error);
  }
}

/**
 * Skips the running test if Python or a module of its SDK is missing; returns the path of Python.
 */
export async function requirePython(module = "opentelemetry.sdk"): Promise<string> {
  const python = findPython();
  const text = `Python with ${module} is missing: npm run setup:python`;
  if (python === undefined) skipTest(text);
  try {
    await promisify(execFile)(python, ["-c", `import ${module}`]);
  } catch (error) {
    skipTest(text, error);
  }
  return python;
}

/** The configured Python, or the one installed by test/setup-python.sh. */
function findPython(): string | undefined {
  const named = process.env["TAILGATE_PYTHON"];
  if (named) return named;
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const path = join(cache, "tailgate/python/bin/python3");
  return existsSync(path) ? path : undefined;
}

export const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Starts the built `tailgate`. */
export function startCli(
  args: readonly string[],
  { cwd = "/", env = {} }: Partial<ProgramOptions> = {},
): Program {
  return new Program(process.execPath, [MAIN, ...args], { cwd, env });
}

/** Runs a command until it ends, successfully or not. */
export async function runCli(
  args: readonly string[],
  options?: Partial<ProgramOptions>,
): Promise<Program> {
  const cli = startCli(args, options);
  await cli.ended;
  return cli;
}
