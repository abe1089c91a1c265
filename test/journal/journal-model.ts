import assert from "node:assert/strict";
import fc from "fast-check";
import type { EnvelopeType } from "tailgate";
import type { SqliteJournal } from "../../src/journal/sqlite.ts";
import type { JournalPage, JournalQuery } from "tailgate/plugin";
import { batch, JournalDirectory, pagesOf } from "./journal-directory.ts";

/** Small enough that system logs expire all the time. */
const SYSTEM_BYTES = 4_000;

/** The expected journal: the bodies of the records with the sequences 1, 2, and so on. */
interface Model {
  readonly bodies: string[];
  /** How many of them are certainly durable. */
  durable: number;
}

interface Real {
  readonly directory: JournalDirectory;
  journal: SqliteJournal;
}

type Command = fc.AsyncCommand<Model, Real>;

class Append implements Command {
  readonly #batches: readonly (readonly string[])[];

  /** Appended in one turn of the event loop. */
  constructor(batches: readonly (readonly string[])[]) {
    this.#batches = batches;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, { journal }: Real): Promise<void> {
    const appends = this.#batches.map((bodies) => journal.append(batch(...bodies)));
    model.bodies.push(...this.#batches.flat());
    assert.equal(journal.newest, model.bodies.length);
    await Promise.all(appends);
    model.durable = model.bodies.length;
    assert.equal(journal.durable, model.durable);
  }

  toString(): string {
    return `append(${JSON.stringify(this.#batches)})`;
  }
}

class Read implements Command {
  readonly #from: number;
  readonly #order: "asc" | "desc";
  readonly #type: EnvelopeType | undefined;

  constructor(from: number, order: "asc" | "desc", type: EnvelopeType | undefined) {
    this.#from = from;
    this.#order = order;
    this.#type = type;
  }

  check({ bodies }: Model): boolean {
    return this.#from <= bodies.length;
  }

  async run({ bodies }: Model, { journal }: Real): Promise<void> {
    const query = { from: this.#from, order: this.#order, type: this.#type } as const;
    const pages = await pagesOf(journal, query);
    checkPages(pages, query, bodies);
  }

  toString(): string {
    return `read(${this.#from}, ${this.#order}, ${this.#type})`;
  }
}

/** Each record is either returned or in a gap: system logs that expired. */
function checkPages(pages: JournalPage[], query: JournalQuery, bodies: readonly string[]): void {
  const { from, order, type } = query;
  const [first, last] = order === "asc" ? [from, bodies.length] : [1, from];
  const inOrder = order === "asc" ? pages : pages.toReversed();
  let next = first;
  for (const page of inOrder) {
    assert.equal(page.from, next);
    next = page.to + 1;
    const found = new Map<number, string>();
    for (let index = 0; index < (page.records?.length ?? 0); index++) {
      found.set(page.records!.sequence(index), page.records!.envelope(index).data.message);
    }
    for (let sequence = page.from; sequence <= page.to; sequence++) {
      const body = bodies[sequence - 1]!;
      const recordType: EnvelopeType = body.startsWith("audit") ? "audit_log" : "system_log";
      const isGone = page.gaps.some(
        (gap) => gap.type === recordType && gap.from <= sequence && sequence <= gap.to,
      );
      const isWanted = type === undefined || type === recordType;
      assert.deepEqual(
        [sequence, found.get(sequence)],
        [sequence, isWanted && !isGone ? body : undefined],
      );
      if (isGone) assert.equal(recordType, "system_log");
    }
  }
  assert.equal(next, last + 1);
}

class Restart implements Command {
  check(): boolean {
    return true;
  }

  async run({ bodies }: Model, real: Real): Promise<void> {
    const { epoch, chain } = real.journal;
    await real.directory.close(real.journal);
    real.journal = await reopened(real.directory);
    assert.equal(real.journal.epoch, epoch);
    assert.deepEqual(real.journal.chain, chain);
    assert.equal(real.journal.newest, bodies.length);
  }

  toString(): string {
    return "restart";
  }
}

/** Nothing awaits the last appends. */
class Crash implements Command {
  readonly #lost: readonly string[];

  constructor(lost: readonly string[]) {
    this.#lost = lost;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, real: Real): Promise<void> {
    const { epoch } = real.journal;
    const underway = this.#lost.map((text) => real.journal.append(batch(text)));
    model.bodies.push(...this.#lost);
    await real.directory.crash(underway);
    real.journal = await reopened(real.directory);
    const { newest } = real.journal;
    assert.ok(newest >= model.durable);
    assert.ok(newest <= model.bodies.length);
    assert.notEqual(real.journal.epoch, epoch);
    assert.equal(real.journal.sharedUpTo(epoch, model.bodies.length), newest);
    model.bodies.length = newest;
    model.durable = newest;
  }

  toString(): string {
    return `crash(${JSON.stringify(this.#lost)})`;
  }
}

export function reopened(directory: JournalDirectory): Promise<SqliteJournal> {
  return directory.open({ system_log: { bytes: SYSTEM_BYTES } });
}

const body = fc
  .tuple(fc.constantFrom("audit", "system"), fc.constantFrom("", "x".repeat(400)), fc.nat(999))
  .map((parts) => parts.join(" "));

export const commands = [
  fc
    .array(fc.array(body, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 })
    .map((batches) => new Append(batches)),
  fc
    .tuple(
      fc.integer({ min: 1, max: 40 }),
      fc.constantFrom("asc" as const, "desc" as const),
      fc.constantFrom("system_log" as const, "audit_log" as const, undefined),
    )
    .map((given) => new Read(...given)),
  fc.constant(new Restart()),
  fc.array(body, { maxLength: 3 }).map((lost) => new Crash(lost)),
];
