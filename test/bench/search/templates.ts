/** The kinds of messages that the generated services log. */

import type { Value } from "./protobuf-writer.ts";
import type { Random } from "./random.ts";
import { KNOWN_WORDS, type Vocabulary } from "./vocabulary.ts";

const LOGGERS =
  "server scheduler instance_manager tmux monitoring monitoring.cpu monitoring.tokens router router.http router.ws tools tools.shell tools.editor tools.search llm llm.anthropic llm.openai llm.cache planner planner.graph memory memory.vector queue queue.retry git git.worktree files files.watch artifacts artifacts.upload billing auth auth.session config health db db.pool http.client mcp"
    .split(" ")
    .map((name) => `orchestrator.${name}`);

export const ROLES = [
  "engineer",
  "architect",
  "reviewer",
  "tester",
  "writer",
  "supervisor",
  "debugger",
  "analyst",
];

const MODELS = ["claude-sonnet-4-5", "claude-opus-4-1", "gpt-5-mini", "gpt-5", "claude-haiku-4-5"];
const TOOLS = [
  "bash",
  "read_file",
  "write_file",
  "edit",
  "grep",
  "glob",
  "web_fetch",
  "task",
  "todo",
  "run_tests",
];
const METHODS = ["GET", "POST", "PUT", "DELETE"];
const PATHS = [
  "/api/instances",
  "/api/logs",
  "/api/messages",
  "/health",
  "/api/plans",
  "/api/artifacts",
];
const VERBS = [
  "Starting",
  "Stopped",
  "Scheduled",
  "Cancelled",
  "Acquired",
  "Released",
  "Updated",
  "Loaded",
  "Compacted",
  "Flushed",
  "Evicted",
  "Resolved",
];
const FUNCTIONS = [
  "run",
  "handle",
  "process",
  "poll",
  "dispatch",
  "on_event",
  "start",
  "stop",
  "submit",
];

/** OpenTelemetry's severity numbers. */
const DEBUG = 5;
const INFO = 9;
const WARN = 13;

const TEMPLATES = 59;

export type Attributes = Record<string, Value>;

/** A message and its attributes, for an instance. */
type Content = (instance: string) => readonly [message: string, attributes: Attributes];

export interface Template {
  readonly logger: string;
  readonly severity: number;
  readonly file: string;
  readonly function: string;
  readonly line: number;
  readonly content: Content;
}

/** Picks templates, frequent ones more often. */
export class Templates {
  readonly #random: Random;
  readonly #templates: Template[] = [];
  readonly #weights: number[] = [];
  #total = 0;

  constructor(random: Random, vocabulary: Vocabulary) {
    this.#random = random;
    this.#addFrequent(vocabulary);
    this.#addRare(vocabulary);
  }

  pick(): Template {
    const wanted = this.#random.share() * this.#total;
    let sum = 0;
    const index = this.#weights.findIndex((weight) => (sum += weight) >= wanted);
    return this.#templates.at(index)!;
  }

  #add(weight: number, severity: number, content: Content): void {
    const random = this.#random;
    const logger = LOGGERS[this.#templates.length % LOGGERS.length]!;
    const path = logger.split(".").slice(1).join("/");
    this.#templates.push({
      logger,
      severity,
      file: `/opt/madrox/src/orchestrator/${path}.py`,
      function: `${random.pick(FUNCTIONS)}_${random.pick(KNOWN_WORDS)}`,
      line: 20 + random.below(900),
      content,
    });
    this.#weights.push(weight);
    this.#total += weight;
  }

  #addFrequent(vocabulary: Vocabulary): void {
    const random = this.#random;
    this.#add(8, INFO, (instance) => {
      const step = 1 + random.below(40);
      const exit_status = random.below(20) > 0 ? 0 : 1;
      return [
        `Instance ${instance} finished step ${step} of 40 with exit status ${exit_status}`,
        { step, exit_status, duration_ms: random.millis() },
      ];
    });
    this.#add(6, DEBUG, (instance) => {
      const pane = random.below(4);
      const bytes = random.below(4000);
      return [
        `Polling tmux pane ${instance}:0.${pane}, ${bytes} bytes new`,
        { bytes, pane: `%${random.below(400)}` },
      ];
    });
    this.#add(6, INFO, (instance) => {
      const method = random.pick(METHODS);
      const path = random.pick(PATHS);
      const status = random.below(30) > 0 ? 200 : random.pick([404, 409, 500, 503]);
      const duration_ms = random.millis();
      return [
        `${method} ${path}/${instance} ${status} in ${duration_ms} ms`,
        {
          "http.request.method": method,
          "url.path": path,
          status,
          duration_ms,
          "client.address": `${random.address()}:${random.port()}`,
        },
      ];
    });
    this.#add(6, INFO, () => {
      const tool = random.pick(TOOLS);
      const characters = random.below(90_000);
      const duration_ms = random.millis();
      const command = `{"path":"${vocabulary.path()}","pattern":"${vocabulary.text(2)}"}`;
      return [
        `Tool ${tool} returned ${characters} characters after ${duration_ms} ms`,
        { tool, characters, duration_ms, arguments: command },
      ];
    });
    this.#add(6, INFO, () => {
      const model = random.pick(MODELS);
      const input_tokens = 200 + random.below(9000);
      const output_tokens = random.below(3000);
      const usage = { input_tokens, output_tokens, cache_read_tokens: random.below(input_tokens) };
      return [
        `Model ${model} answered: ${input_tokens} input tokens, ${output_tokens} output tokens`,
        {
          model,
          usage,
          cost_usd: Math.round(input_tokens * 3 + output_tokens * 15) / 1e6,
          duration_ms: random.millis(),
        },
      ];
    });
    this.#add(5, INFO, (instance) => [
      `Task "${vocabulary.text(6 + random.below(8))}" assigned to ${instance}`,
      {
        task_id: random.below(1e6),
        priority: random.below(5),
        tags: [random.pick(KNOWN_WORDS), random.pick(KNOWN_WORDS)],
      },
    ]);
    this.#add(4, WARN, () => {
      const attempt = 1 + random.below(5);
      const what = random.pick(["upload", "request", "lease", "commit"]);
      const backoff_ms = random.below(30_000);
      const peer = `${random.address()}:${random.port()}`;
      return [
        `Retry ${attempt} of 5 for ${what} in ${backoff_ms} ms: connection reset by ${peer}`,
        {
          attempt,
          backoff_ms,
          "error.type": random.pick(["ECONNRESET", "ETIMEDOUT", "EPIPE"]),
        },
      ];
    });
    this.#add(3, DEBUG, () => [
      `cache lookup key=${random.hex(16)} hit=${random.below(2) > 0 ? "true" : "false"}`,
      { hit: random.below(2) === 1, size: random.below(1e6) },
    ]);
    this.#add(3, INFO, () => {
      const bytes = random.below(200_000);
      const path = vocabulary.path();
      return [`Wrote ${bytes} bytes to ${path}`, { bytes, "file.path": path }];
    });
    this.#add(3, INFO, () => [
      `Agent says: ${vocabulary.text(15 + random.below(25))}.`,
      { role_text: vocabulary.text(4), turn: random.below(60) },
    ]);
    this.#add(2, WARN, () => {
      const depth = 100 + random.below(900);
      const shard = random.below(16);
      return [`Queue depth ${depth} above threshold 100 on shard ${shard}`, { depth, shard }];
    });
    this.#add(1, INFO, () => [
      `Prüfung „${vocabulary.text(3)}“ abgeschlossen – ${random.below(100)} % fertig, Größe ${random.below(9000)} KiB`,
      { prüfer: "Jürgen", sprache: "日本語" },
    ]);
  }

  #addRare(vocabulary: Vocabulary): void {
    const random = this.#random;
    const { words } = vocabulary;
    for (let index = this.#templates.length; index < TEMPLATES; index++) {
      const verb = VERBS[index % VERBS.length]!;
      const noun = words[(index * 3) % 60]!;
      const other = words[(index * 7 + 11) % 60]!;
      const key = words[(index * 5 + 3) % 60]!;
      const counter = `${words[(index * 11 + 5) % 60]}_count`;
      const severity = index % 9 === 0 ? WARN : index % 3 === 0 ? DEBUG : INFO;
      this.#add(1.2, severity, (instance) => {
        const count = random.below(100_000);
        const word = vocabulary.word();
        const duration_ms = random.millis();
        const detail = index % 4 === 0 ? { [`${key}.detail`]: vocabulary.text(4) } : {};
        return [
          `${verb} ${noun} ${count} for ${instance} (${other} ${word}) in ${duration_ms} ms`,
          { [key]: word, [counter]: count, duration_ms, ...detail },
        ];
      });
    }
  }
}
