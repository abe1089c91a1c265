import type { GapMessage, ServerMessage } from "../wire/protocol.ts";

/** What a `tailgate.v1` message has for whoever shows it. */
export interface Shown {
  /** Envelopes as they came, behind the gaps that were told with them. */
  readonly gaps: readonly GapMessage[];
  readonly envelopes: readonly string[];
}

const NOTHING: Shown = { gaps: [], envelopes: [] };

/**
 * What has been shown of a gateway's stream. A gap comes before the batch that it is told with, and holds when that
 * batch has come: so nothing is missed or doubled wherever the connection breaks.
 */
export class Position {
  /** The numbering of the connection. */
  #epoch = "";
  #resume: { epoch: string; sequence: number; durable: number } | undefined;
  #heldGaps: GapMessage[] = [];

  /** Behind what was shown; undefined where nothing is known yet. */
  get resume(): { epoch: string; sequence: number; durable: number } | undefined {
    return this.#resume;
  }

  /** Takes the text of one message. */
  take(message: ServerMessage, text: string): Shown {
    switch (message.type) {
      case "hello":
        this.#epoch = message.epoch;
        this.#heldGaps = [];
        return NOTHING;
      case "caught_up":
        this.#moveTo(message.sequence, this.#resume?.durable ?? message.sequence);
        return NOTHING;
      case "gap":
        return this.#takeGap(message);
      case "batch": {
        const gaps = this.#heldGaps.splice(0);
        this.#moveTo(message.to, message.durable);
        return { gaps, envelopes: envelopeTexts(text) };
      }
      default:
        return NOTHING;
    }
  }

  #takeGap(gap: GapMessage): Shown {
    if (gap.reason === "epoch") {
      this.#moveTo(gap.from - 1, gap.from - 1);
    } else if (this.#resume === undefined || gap.from > this.#resume.sequence) {
      this.#heldGaps.push(gap);
      return NOTHING;
    }
    return { gaps: [gap], envelopes: [] };
  }

  #moveTo(sequence: number, durable: number): void {
    this.#resume = { epoch: this.#epoch, sequence, durable };
  }
}

const ENVELOPES = '"envelopes":[';

/** Reads a message; of a batch without its envelopes, whose texts {@link envelopeTexts} has. */
export function messageOf(text: string): ServerMessage {
  const start = text.startsWith('{"type":"batch"') ? text.indexOf(ENVELOPES) : -1;
  const head = start < 0 ? text : `${text.slice(0, start + ENVELOPES.length)}]}`;
  return JSON.parse(head) as ServerMessage;
}

/** The texts of a batch's envelopes as they are: what is shown is not written anew. */
function envelopeTexts(text: string): string[] {
  const texts: string[] = [];
  let start = text.indexOf(ENVELOPES) + ENVELOPES.length;
  while (text[start] === "{") {
    const end = objectEnd(text, start);
    texts.push(text.slice(start, end));
    start = text[end] === "," ? end + 1 : end;
  }
  return texts;
}

/** Brackets, quotes, and what a backslash takes with it. */
const MARK = /["{}]/g;
const STRING_END = /[^"\\]*(?:\\.[^"\\]*)*"/y;

/** Behind the object that begins at `start`. */
function objectEnd(text: string, start: number): number {
  let depth = 0;
  MARK.lastIndex = start;
  for (;;) {
    const mark = MARK.exec(text);
    if (mark === null) throw new SyntaxError("A batch ends within an envelope.");
    if (mark[0] === "{") depth++;
    else if (mark[0] === "}") depth--;
    else {
      STRING_END.lastIndex = mark.index + 1;
      STRING_END.test(text);
      MARK.lastIndex = STRING_END.lastIndex || text.length;
    }
    if (depth === 0) return mark.index + 1;
  }
}
