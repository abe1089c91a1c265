/**
 * Records as an orchestrator's services log them: 39 loggers and audit events, 20 000 instances of which 300 live at a time,
 * 59 kinds of messages, 1 % errors with stack traces, trace, span and request ids on a third, 2 % audit events, about 12
 * attributes. They are spread over 24 hours and always the same for the same number of records.
 */

import { ProtobufWriter, type Value } from "./protobuf-writer.ts";
import { Random } from "./random.ts";
import { ROLES, Templates, type Attributes, type Template } from "./templates.ts";
import { KNOWN_WORDS, Vocabulary } from "./vocabulary.ts";

const REQUEST_RECORDS = 512;

/** The first record's time; the last one is a day later. */
export const START_MS = Date.UTC(2026, 10, 28);
const SPAN_MICROS = 86_400e6;

const LIVE_INSTANCES = 300;
const INSTANCES = 20_000;
const SERVICES = 6;

const AUDIT_SHARE = 0.02;
const ERROR_SHARE = 0.01;

const ACTIONS = [
  "instance_spawn",
  "instance_terminate",
  "message_sent",
  "config_change",
  "login",
  "artifact_published",
];
const EXCEPTIONS = [
  "TimeoutError",
  "ConnectionResetError",
  "ValueError",
  "KeyError",
  "ToolExecutionError",
  "RateLimitError",
];

const SEVERITY_TEXTS: Readonly<Record<number, string>> = {
  5: "DEBUG",
  9: "INFO",
  13: "WARN",
  17: "ERROR",
  21: "CRITICAL",
};

interface Instance {
  readonly id: string;
  readonly role: string;
  trace: string;
  request: string;
  /** How many more records the trace has. */
  left: number;
}

interface Service {
  readonly name: string;
  readonly id: string;
  readonly host: string;
  readonly pid: number;
}

interface GeneratedRecord {
  readonly micros: number;
  logger: string;
  severity: number;
  message: string;
  attributes: Attributes;
  trace?: string;
  span?: string;
}

/** What the queries look for. */
export interface Needle {
  readonly request: string;
  readonly trace: string;
  readonly span: string;
  readonly instance: string;
}

export class RecordGenerator {
  readonly records: number;
  readonly needles: Needle[] = [];
  readonly #random = new Random();
  readonly #vocabulary = new Vocabulary(this.#random);
  readonly #templates = new Templates(this.#random, this.#vocabulary);
  readonly #frames: readonly string[];
  readonly #instances: Instance[];
  readonly #services: readonly Service[];
  readonly #writer = new ProtobufWriter();
  #made = 0;

  constructor(records: number) {
    const random = this.#random;
    this.records = records;
    this.#frames = Array.from({ length: 60 }, () => this.#frame());
    this.#instances = Array.from({ length: LIVE_INSTANCES }, () => this.#instance());
    this.#services = Array.from({ length: SERVICES }, (_, index) => ({
      name: index === 0 ? "madrox" : "madrox-worker",
      id: random.uuid(),
      host: `node-${index % 3}`,
      pid: 1000 + random.below(30_000),
    }));
  }

  /** Yields requests with these numbers of records, in turn. */
  *requests(sizes: readonly number[] = [REQUEST_RECORDS]): Requests {
    let first = 0;
    for (let turn = 0; first < this.records; turn++) {
      const service = this.#services[this.#random.zipf(SERVICES)]!;
      const length = Math.min(sizes[turn % sizes.length]!, this.records - first);
      const start = first;
      const records = Array.from({ length }, (_, offset) => this.#record(start + offset));
      first += length;
      yield this.#encode(service, records);
    }
  }

  #instance(): Instance {
    this.#made++;
    const id = `inst-${this.#random.hex(8)}`;
    return { id, role: this.#random.pick(ROLES), trace: "", request: "", left: 0 };
  }

  #frame(): string {
    const random = this.#random;
    const known = (): string => random.pick(KNOWN_WORDS);
    const start = random.pick(["await", "return", "raise", "result ="]);
    return `  File "/opt/madrox/src/orchestrator/${known()}/${known()}.py", line ${10 + random.below(900)}, in ${known()}_${known()}\n    ${start} self.${known()}.${known()}(${known()}, ${known()}=${known()})\n`;
  }

  #stack(error: string): string {
    let text = "Traceback (most recent call last):\n";
    for (let left = 4 + this.#random.below(8); left > 0; left--) {
      text += this.#frames[this.#random.zipf(60)]!;
    }
    return text + error;
  }

  #record(number: number): GeneratedRecord {
    const random = this.#random;
    const interval = this.records / (INSTANCES - LIVE_INSTANCES);
    if (number / interval > this.#made - LIVE_INSTANCES) {
      this.#instances[random.below(LIVE_INSTANCES)] = this.#instance();
    }
    const instance = this.#instances[random.zipf(LIVE_INSTANCES)]!;
    const micros = Math.floor(((number + random.share() * 0.9) / this.records) * SPAN_MICROS);
    const roll = random.share();
    if (roll < AUDIT_SHARE) return this.#auditEvent(micros, instance);
    const template = this.#templates.pick();
    const [message, attributes] = template.content(instance.id);
    const record: GeneratedRecord = {
      micros,
      logger: template.logger,
      severity: template.severity,
      message,
      attributes: { instance_id: instance.id, role: instance.role, ...attributes },
    };
    if (roll > 1 - ERROR_SHARE) this.#makeError(record, template);
    if (number % 3 === 0) this.#addTrace(record, instance);
    Object.assign(record.attributes, {
      "code.file.path": template.file,
      "code.function.name": template.function,
      "code.line.number": template.line,
    });
    return record;
  }

  #auditEvent(micros: number, instance: Instance): GeneratedRecord {
    const random = this.#random;
    const action = random.pick(ACTIONS);
    return {
      micros,
      logger: "orchestrator.audit",
      severity: 9,
      message: `${action.replace("_", " ")} ${instance.id} by ${random.pick(ROLES)}`,
      attributes: {
        event_type: action,
        instance_id: instance.id,
        actor: random.pick(ROLES),
        details: { reason: this.#vocabulary.text(4), count: random.below(100) },
      },
    };
  }

  #makeError(record: GeneratedRecord, template: Template): void {
    const random = this.#random;
    record.severity = random.share() < 0.9 ? 17 : 21;
    const type = random.pick(EXCEPTIONS);
    const message = `${this.#vocabulary.text(3)} ${random.below(10_000)}`;
    record.message = `${type} while ${template.function.replaceAll("_", " ")}: ${message}`;
    Object.assign(record.attributes, {
      "exception.type": type,
      "exception.message": message,
      "exception.stacktrace": this.#stack(`${type}: ${message}`),
    });
  }

  #addTrace(record: GeneratedRecord, instance: Instance): void {
    const random = this.#random;
    if (instance.left-- <= 0) {
      instance.trace = random.hex(32);
      instance.request = random.uuid();
      instance.left = random.below(8);
    }
    record.trace = instance.trace;
    record.span = random.hex(16);
    record.attributes["request_id"] = instance.request;
    const { trace, request } = instance;
    const isDue = (record.micros / SPAN_MICROS) * NEEDLES > this.needles.length;
    if (isDue) this.needles.push({ request, trace, span: record.span, instance: instance.id });
  }

  #encode(service: Service, records: readonly GeneratedRecord[]): Buffer<ArrayBuffer> {
    const writer = this.#writer;
    const groups = Map.groupBy(records, ({ logger }) => logger);
    writer.message(0x0a, () => {
      writer.message(0x0a, () => {
        const attributes: Record<string, Value> = {
          "service.name": service.name,
          "service.instance.id": service.id,
          "host.name": service.host,
          "process.pid": service.pid,
          "telemetry.sdk.language": "python",
        };
        for (const [key, value] of Object.entries(attributes)) writer.attribute(0x0a, key, value);
      });
      for (const [logger, group] of groups) {
        writer.message(0x12, () => {
          writer.message(0x0a, () => writer.text(0x0a, logger));
          for (const record of group) this.#encodeRecord(record);
        });
      }
    });
    return writer.take();
  }

  #encodeRecord(record: GeneratedRecord): void {
    const writer = this.#writer;
    const nanos = (BigInt(START_MS) * 1000n + BigInt(record.micros)) * 1000n;
    writer.message(0x12, () => {
      writer.fixed64(0x09, nanos);
      writer.byte(0x10);
      writer.byte(record.severity);
      writer.text(0x1a, SEVERITY_TEXTS[record.severity]!);
      writer.message(0x2a, () => writer.text(0x0a, record.message));
      for (const [key, value] of Object.entries(record.attributes)) {
        writer.attribute(0x32, key, value);
      }
      if (record.trace !== undefined) {
        writer.fixed32(0x45, 1);
        writer.hex(0x4a, record.trace);
        writer.hex(0x52, record.span!);
      }
      writer.fixed64(0x59, nanos + 120_000n);
    });
  }
}

/** How many records are remembered as needles, evenly over the day. */
const NEEDLES = 10;

type Requests = Generator<Buffer<ArrayBuffer>, undefined>;
