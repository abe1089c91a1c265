import { useSyncExternalStore } from "react";
import type { LogEntry } from "../../client/index.ts";
import { fieldTerm, relatedKeys, traceLink } from "./related-keys.ts";
import type { Session } from "../session/session.ts";
import { TEXTS } from "../texts.ts";
import { useIsNarrow } from "../use-is-narrow.ts";
import { printable } from "../../wire/printable.ts";

interface RelatedProps {
  readonly session: Session;
  readonly entry: LogEntry;
  /** Closes the details, which hide the panels on a narrow page. */
  readonly onClose: () => void;
}

/** From a record to what belongs to it: the system lines of an audit event, the trace elsewhere. */
export function Related({ session, entry, onClose }: RelatedProps) {
  const { stats, together } = session;
  const template = useSyncExternalStore(stats.subscribe, stats.current)?.trace_url ?? null;
  const isNarrow = useIsNarrow();
  const { envelope, sequence } = entry;
  const { instanceId, traceId } = relatedKeys(envelope);
  const show = (name: string, term: string): void => {
    together.enter({ name, term, sequence });
    if (!isNarrow) return;
    onClose();
    const tab = document.getElementById("tab-system_log");
    tab?.click();
    tab?.focus();
  };
  const link = traceId === undefined ? undefined : traceLink(template, traceId);
  const choices = [
    { field: "instance_id", id: instanceId, text: TEXTS.related.instance },
    { field: "trace_id", id: traceId, text: TEXTS.related.trace },
  ];
  const isEvent = envelope.type === "audit_log";
  return (
    <div className="related" role="group" aria-label={TEXTS.related.title}>
      {choices.map(({ field, id, text }) => {
        if (id === undefined || !isEvent) return null;
        const name = text(printable(id));
        return (
          <button key={field} type="button" onClick={() => show(name, fieldTerm(field, id))}>
            {TEXTS.related.systemLines(name)}
          </button>
        );
      })}
      {link !== undefined && (
        <a href={link} target="_blank" rel="noopener noreferrer">
          {TEXTS.related.openTrace}
        </a>
      )}
    </div>
  );
}
