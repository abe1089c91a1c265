import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { auditHash, NO_HASH } from "../../src/envelope/audit-line.ts";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import type { StoredGap, StoredRecord, Stored } from "./checker.ts";

const KEPT = { bytes: 2 ** 40, ms: 1e12 };

interface Fields {
  readonly message: string;
  readonly metadata?: Fields;
  readonly producer: string;
  readonly producer_seq: number;
  readonly sha256: string;
}

export interface StoredInJournal extends Stored {
  /** Warnings that it logged. */
  readonly alarms: readonly string[];
  /** The sequences of the audit events whose hash does not match that of the previous one. */
  readonly chainBreaks: readonly number[];
}

/** Reads everything in the journal of a gateway that has ended. */
export async function storedIn(directory: string): Promise<StoredInJournal> {
  const alarms: string[] = [];
  const retention = { system_log: KEPT, audit_log: KEPT };
  const journal = await SqliteJournal.open({
    directory,
    retention,
    alarm: (text) => alarms.push(text),
  });
  const records: StoredRecord[] = [];
  const gaps: StoredGap[] = [];
  const others: { sequence: number; body: string }[] = [];
  const chainBreaks: number[] = [];
  let hash = NO_HASH;
  try {
    for (let from = 1; ;) {
      const page = await journal.read({ from });
      if (page.to < page.from) break;
      from = page.to + 1;
      gaps.push(...page.gaps);
      for (let index = 0; index < (page.records?.length ?? 0); index++) {
        const { type, data } = page.records!.envelope(index);
        const sequence = page.records!.sequence(index);
        if (type === "audit_log") {
          const expected = auditHash(hash, page.records!.data(index), sequence);
          hash = page.records!.hash(index);
          if (hash !== expected) chainBreaks.push(sequence);
        }
        const { message, ...extras } = data as unknown as Fields;
        const record = recordOf(extras.metadata ?? extras, message);
        if (record.producer === undefined) others.push({ sequence, body: message });
        else records.push({ sequence, isAudit: type === "audit_log", ...record });
      }
    }
    return { records, gaps, others, from: 1, to: journal.newest, alarms, chainBreaks };
  } finally {
    await journal.close();
  }
}

function recordOf(
  { producer, producer_seq: seq, sha256 }: Omit<Fields, "message">,
  body: string,
): Omit<StoredRecord, "sequence" | "isAudit"> {
  return { producer, seq, sha256, body };
}

/**
 * Returns the producers' audit events in the files, one per line, in order. Rejects if a line is
 * not JSON.
 */
export async function auditLinesIn(directory: string): Promise<StoredRecord[]> {
  const names = (await readdir(join(directory, "audit"))).filter((name) =>
    /^audit_\d{8}\.jsonl$/.test(name),
  );
  const texts = await Promise.all(
    names.sort().map((name) => readFile(join(directory, "audit", name), "utf8")),
  );
  const lines = texts.flatMap((text) => text.split("\n").filter(Boolean));
  const events = lines.map((line) => {
    const { event, seq, ...fields } = JSON.parse(line) as Fields & { event: string; seq: number };
    return { sequence: seq, isAudit: true, ...recordOf(fields, event) };
  });
  return events.filter(({ producer }) => producer !== undefined);
}
