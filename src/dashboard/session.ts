import { ENVELOPE_TYPES, type EnvelopeType } from "../envelope.ts";
import { PanelStore } from "./panel-store.ts";
import { LogHistory, LogStream } from "../client/index.ts";

/** How many records a panel begins with; what is older comes when it is scrolled to. */
const REPLAY = 200;

/** The one that has served the page. */
const GATEWAY = "/";

/** What the page is connected to: the journal, and a stream for each panel. */
export interface Session {
  readonly history: LogHistory;
  readonly panels: Readonly<Record<EnvelopeType, PanelStore>>;
}

/**
 * A stream for each panel, so that each begins with the newest records of its type, and audit events do not wait behind
 * many system logs.
 */
export function openSession(): Session {
  const history = new LogHistory({ url: GATEWAY });
  const open = (lane: EnvelopeType): PanelStore => {
    const stream = new LogStream({
      url: GATEWAY,
      filter: { type: lane },
      start: { replay: REPLAY },
    });
    return new PanelStore({
      lane,
      filter: {},
      stream,
      history,
      schedule: (publish) => requestAnimationFrame(publish),
    });
  };
  const [system, audit] = ENVELOPE_TYPES.map(open);
  return { history, panels: { system_log: system!, audit_log: audit! } };
}
