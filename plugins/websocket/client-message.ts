import {
  FILTER_PARAMETERS,
  TailgateError,
  textOf,
  z,
  type ClientMessage,
  type ServerMessage,
} from "tailgate/plugin";

const EPOCH_CHARACTERS_MAX = 64;

/** What an answer shows of a reason that repeats what the client has sent. */
const REASON_CHARACTERS_MAX = 500;

/** The last millisecond of the year 9999. */
const TIME_MS_MAX = 253_402_300_799_999;

const count = z.int().min(0);
// How long it may be is the filter's own matter, which says so as FILTER_INVALID.
const term = z.string().optional();
const filter = z
  .strictObject(Object.fromEntries(FILTER_PARAMETERS.map((name) => [name, term])))
  .optional();

const timeFormat = "Expected ISO 8601 with a zone, such as 2025-10-13T09:27:24Z, or ms since 1970";
const time = z.union(
  [z.int().min(0).max(TIME_MS_MAX), z.iso.datetime({ offset: true, error: timeFormat })],
  {
    error: timeFormat,
  },
);

const message = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("subscribe"),
      filter,
      version: count.optional(),
      replay: count.optional(),
      since: time.optional(),
      resume: z
        .strictObject({
          epoch: z.string().max(EPOCH_CHARACTERS_MAX),
          sequence: count,
          durable: count.optional(),
        })
        .optional(),
    }),
    z.strictObject({ type: z.literal("filter"), filter, version: count }),
  ],
  { error: 'Expected an object whose type is "subscribe" or "filter"' },
);

const STARTS = ["replay", "since", "resume"] as const;

export type MessageErrorCode = Extract<ServerMessage, { type: "error" }>["code"];

/** Why a viewer's message is not taken; its text is for the viewer. */
export class MessageFault extends Error {
  readonly code: MessageErrorCode;

  constructor(code: MessageErrorCode, text: string) {
    super(text);
    this.code = code;
  }
}

/**
 * Reads what a viewer has sent.
 * @throws MessageFault MESSAGE_INVALID
 */
export function parseClientMessage(data: Buffer, isBinary: boolean): ClientMessage {
  if (isBinary) throw invalid("Messages are text frames.");
  const parsed = message.safeParse(jsonOf(data.toString()));
  if (!parsed.success) throw invalid(issueText(parsed.error.issues[0]!));
  if (parsed.data.type === "subscribe") {
    const given = STARTS.filter((name) => name in parsed.data);
    if (given.length > 1)
      throw invalid(`It can start in one way, not with ${given.join(" and ")}.`);
  }
  return parsed.data;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(`It is no JSON: ${shortened(textOf(error))}.`);
  }
}

function issueText({ path, message: text }: z.core.$ZodIssue): string {
  const reason = shortened(text);
  return path.length === 0 ? `${reason}.` : `${path.join(".")}: ${reason}.`;
}

function shortened(text: string): string {
  if (text.length <= REASON_CHARACTERS_MAX) return text;
  return `${text.slice(0, REASON_CHARACTERS_MAX).toWellFormed()}...`;
}

function invalid(text: string): MessageFault {
  return new MessageFault("MESSAGE_INVALID", text);
}

/** What is to be answered to whatever was thrown on the way; undefined where it is a fault of ours. */
export function faultOf(error: unknown): MessageFault | undefined {
  if (error instanceof MessageFault) return error;
  if (TailgateError.is(error, "FILTER_INVALID")) {
    return new MessageFault("FILTER_INVALID", error.message);
  }
  return undefined;
}
