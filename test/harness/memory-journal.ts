import { MemoryJournal } from "../../src/journal/memory.ts";
import type { TestHost } from "tailgate/testing";

/** The engine behind a test host's journal, with what only the gateway may use of it. */
export function memoryJournal({ journal }: TestHost): MemoryJournal {
  if (journal instanceof MemoryJournal) return journal;
  throw new Error("The test host has another journal.");
}
