/** What a client asks for, in the query of its handshake or in `tailgate.v1` messages. */

import {
  bothFilters,
  FILTER_PARAMETERS,
  parseFilter,
  quotedExcerpt,
  TailgateError,
  textOf,
  z,
  type ClientMessage,
  type Filter,
  type FilterQuery,
  type ServerMessage,
} from "tailgate/plugin";

type SubscribeMessage = Extract<ClientMessage, { type: "subscribe" }>;

/** Where a subscription starts; at the head of the journal if nothing is set. */
export type StartPosition = Pick<SubscribeMessage, "replay" | "since" | "resume">;

/** The last position of a client that resumes. */
export type ResumePosition = NonNullable<SubscribeMessage["resume"]>;

/** The subscription that a handshake asks for. */
export interface HandshakeQuery {
  /** True if the query asks for nothing: clients of `tailgate.v1` then subscribe with a message. */
  readonly isEmpty: boolean;
  readonly filter: Filter;
  /** How many of the newest records to start with; undefined if the client does not say. */
  readonly replay: number | undefined;
}

const HANDSHAKE_PARAMETERS: readonly string[] = [...FILTER_PARAMETERS, "replay"];

/**
 * Parses the query of a request's target. Parameters without a value count as absent. `selection`: the records that the
 * exporter itself gets.
 * @throws TailgateError FILTER_INVALID, or RangeError for other parameters. The client gets either message.
 */
export function parseHandshake(
  target: string,
  { replayMax, selection }: { replayMax: number; selection: Filter },
): HandshakeQuery {
  const start = target.indexOf("?");
  const parameters = new URLSearchParams(start < 0 ? "" : target.slice(start + 1));
  for (const name of parameters.keys()) {
    if (!HANDSHAKE_PARAMETERS.includes(name)) {
      throw new RangeError(
        `Unknown query parameter ${quotedExcerpt(name)}; valid parameters are ${HANDSHAKE_PARAMETERS.join(", ")}.`,
      );
    }
    if (parameters.getAll(name).length > 1) {
      throw new RangeError(`The query parameter ${name} is given more than once.`);
    }
  }
  const query: FilterQuery = Object.fromEntries(
    FILTER_PARAMETERS.map((name) => [name, parameters.get(name) || undefined]),
  );
  const filter = bothFilters(selection, parseFilter(query));
  const replay = parseReplay(parameters.get("replay") || undefined, replayMax);
  const isEmpty = !replay && Object.values(query).every((value) => value === undefined);
  return { isEmpty, filter, replay };
}

/** Larger numbers are capped: browsers do not show pages why a handshake was rejected. */
function parseReplay(text: string | undefined, replayMax: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Math.min(Number(text), replayMax);
  throw new RangeError(
    `The query parameter replay must be a whole number, not ${quotedExcerpt(text)}.`,
  );
}

type MessageErrorCode = Extract<ServerMessage, { type: "error" }>["code"];

/** A message of a client is rejected. The client gets the code and the text. */
export class MessageError extends Error {
  readonly code: MessageErrorCode;

  constructor(code: MessageErrorCode, text: string) {
    super(text);
    this.name = "MessageError";
    this.code = code;
  }

  /** Converts an error that a client's message caused; returns undefined for internal errors. */
  static from(error: unknown): MessageError | undefined {
    if (error instanceof MessageError) return error;
    if (TailgateError.is(error, "FILTER_INVALID")) {
      return new MessageError("FILTER_INVALID", error.message);
    }
    return undefined;
  }
}

const EPOCH_CHARACTERS_MAX = 64;

/** How much of an error's text is sent back if it quotes what the client has sent. */
const REASON_CHARACTERS_MAX = 500;

/** The last millisecond of the year 9999. */
const TIME_MS_MAX = 253_402_300_799_999;

const count = z.int().min(0);
// The filter checks the length itself and rejects it with FILTER_INVALID.
const parameter = z.string().optional();
const filter = z
  .strictObject(Object.fromEntries(FILTER_PARAMETERS.map((name) => [name, parameter])))
  .optional();

const timeFormat =
  "Expected ISO 8601 with a time zone, such as 2025-10-13T09:27:24Z, or ms since 1970";
const time = z.union(
  [z.int().min(0).max(TIME_MS_MAX), z.iso.datetime({ offset: true, error: timeFormat })],
  { error: timeFormat },
);

const messageSchema = z.discriminatedUnion(
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

const START_FIELDS = ["replay", "since", "resume"] as const;

/**
 * Parses a message of a client.
 * @throws MessageError MESSAGE_INVALID
 */
export function parseClientMessage(data: Buffer, isBinary: boolean): ClientMessage {
  if (isBinary) throw invalidMessage("Messages must be text frames.");
  const parsed = messageSchema.safeParse(parseJson(data.toString()));
  if (!parsed.success) throw invalidMessage(issueText(parsed.error.issues[0]!));
  if (parsed.data.type === "subscribe") {
    const given = START_FIELDS.filter((name) => name in parsed.data);
    if (given.length > 1)
      throw invalidMessage(`Use only one of ${given.join(" and ")} to say where to start.`);
  }
  return parsed.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidMessage(`Invalid JSON: ${shorten(textOf(error))}.`);
  }
}

function issueText({ path, message }: z.core.$ZodIssue): string {
  const reason = shorten(message);
  return path.length === 0 ? `${reason}.` : `${path.join(".")}: ${reason}.`;
}

function shorten(text: string): string {
  if (text.length <= REASON_CHARACTERS_MAX) return text;
  return `${text.slice(0, REASON_CHARACTERS_MAX).toWellFormed()}...`;
}

function invalidMessage(text: string): MessageError {
  return new MessageError("MESSAGE_INVALID", text);
}
