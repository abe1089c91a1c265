import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { LogRecord } from "tailgate/plugin";

export interface WriteCommand {
  readonly do: "write";
  readonly records: readonly Partial<LogRecord>[];
  readonly firstSequence: number;
  readonly timeoutMs: number;
  /** Each record in a batch of its own, and these joined. */
  readonly isJoined: boolean;
}

export type Command = { readonly id: number } & (
  | WriteCommand
  | { readonly do: "answer" }
  | { readonly do: "close" }
);

/** Empty on success. */
export interface Outcome {
  readonly error?: string;
  readonly isPermanent?: boolean;
}

export interface Reply {
  readonly id: number;
  readonly outcome: Outcome;
}

export interface ProcessOptions {
  readonly plugin: string;
  readonly logDir: string;
  readonly options?: Readonly<Record<string, unknown>>;
  /** Standard input, output and error; ignored by default. */
  readonly stdio?: [StdioEnd, StdioEnd, StdioEnd];
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the one that follows, such as `prlimit` with its arguments. */
  readonly through?: readonly string[];
  /**
   * Gives it a terminal instead of the standard streams: what it shows there is on standard output, what is typed comes
   * from standard input. By script(1), which Debian has in bsdutils.
   */
  readonly onTerminal?: boolean;
}

type StdioEnd = "pipe" | "ignore" | number;

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** An exporter in its own process, with its own standard streams and limits. */
export class ExporterProcess {
  readonly child: ChildProcess;
  readonly #waiting = new Map<number, (outcome: Outcome) => void>();
  #lastId = 0;

  private constructor(child: ChildProcess) {
    this.child = child;
    child.on("message", (reply: Reply) => this.#waiting.get(reply.id)?.(reply.outcome));
  }

  /** Resolves when the exporter is open. */
  static async start(given: ProcessOptions): Promise<ExporterProcess> {
    const node = [process.execPath, "--import", path("source-hooks.ts")];
    const script = [path("exporter-process-main.ts"), path(`../../plugins/${given.plugin}.ts`)];
    const options = [JSON.stringify(given.options ?? {}), given.logDir];
    const line = [...(given.through ?? []), ...node, ...script, ...options];
    const [command, ...args] = given.onTerminal ? onTerminal(line) : line;
    const stdio: StdioOptions = [...(given.stdio ?? ["ignore", "ignore", "ignore"]), "ipc"];
    const env = { ...process.env, NO_COLOR: "", ...given.env };
    const child = spawn(command!, args, { stdio, env, serialization: "advanced" });
    const started = new ExporterProcess(child);
    await started.#outcome(0);
    return started;
  }

  /** Resolves with the outcome of the write. */
  async write(
    records: readonly Partial<LogRecord>[],
    { firstSequence = 1, timeoutMs = 20_000, isJoined = false } = {},
  ): Promise<Outcome> {
    const id = ++this.#lastId;
    return this.#ask({ id, do: "write", records, firstSequence, timeoutMs, isJoined });
  }

  /** Resolves when its event loop has turned. */
  async answer(): Promise<void> {
    await this.#ask({ id: ++this.#lastId, do: "answer" });
  }

  /** Closes the exporter and lets the process exit by itself; resolves with its exit code. */
  async close(): Promise<number | null> {
    const exited = once(this.child, "exit");
    await this.#ask({ id: ++this.#lastId, do: "close" });
    const [code] = (await exited) as [number | null];
    return code;
  }

  kill(): void {
    this.child.kill("SIGKILL");
  }

  async #ask(command: Command): Promise<Outcome> {
    this.child.send(command);
    return this.#outcome(command.id);
  }

  /** Rejects if the process ends before it has answered. */
  async #outcome(id: number): Promise<Outcome> {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    const ended = (code: number | null, signal: string | null): void =>
      reject(new Error(`The exporter's process has ended: ${code ?? signal}.`));
    this.#waiting.set(id, resolve);
    this.child.once("exit", ended);
    try {
      return await promise;
    } finally {
      this.#waiting.delete(id);
      this.child.off("exit", ended);
    }
  }
}

function onTerminal(line: readonly string[]): string[] {
  const quoted = line.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`);
  return ["script", "--quiet", "--return", "--command", `exec ${quoted.join(" ")}`, "/dev/null"];
}
