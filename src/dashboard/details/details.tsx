import { useState, useSyncExternalStore } from "react";
import type { LogEntry } from "../../client/index.ts";
import type { Envelope, EnvelopeType, JsonValue } from "../../wire/envelope.ts";
import { printable, printableLines } from "../../wire/printable.ts";
import { formatTerm } from "../../wire/query/format.ts";
import { useIsNarrow } from "../hooks.ts";
import type { Correlation } from "../session/correlation.ts";
import type { DashboardSession } from "../session/session.ts";
import { TEXTS } from "../texts.ts";

/** The record in the details pane, and the panel that it was selected in. */
export interface SelectedRecord {
  readonly type: EnvelopeType;
  readonly entry: LogEntry;
}

interface DetailsProps {
  readonly session: DashboardSession;
  readonly selection: SelectedRecord;
  /** The address at which the dashboard shows this record. */
  readonly link: string;
  readonly onClose: () => void;
  /** Shows the records around this one; undefined if no filter hides them. */
  readonly onContext: (() => void) | undefined;
}

/** The details pane: everything about one record. */
export function Details({ session, selection, link, onClose, onContext }: DetailsProps) {
  const { envelope, sequence } = selection.entry;
  const stack = customFields(envelope)["exception.stacktrace"];
  return (
    <aside
      className="details"
      aria-label={TEXTS.details.title}
      onKeyDown={({ key }) => key === "Escape" && onClose()}
    >
      <div className="bar details-head">
        <h2>
          <span className="level" data-level={envelope.data.level}>
            {envelope.data.level}
          </span>{" "}
          {TEXTS.details.title} {sequence}
        </h2>
        {onContext && <button onClick={onContext}>{TEXTS.details.context}</button>}
        <CopyButton label={TEXTS.details.copyJson} text={() => toJson(envelope)} />
        <CopyButton label={TEXTS.details.copyLink} text={() => link} />
        <button onClick={onClose}>{TEXTS.close}</button>
      </div>
      <div className="details-body" tabIndex={0} role="region" aria-label={TEXTS.details.title}>
        <p className="details-message">{printableLines(envelope.data.message)}</p>
        <Related session={session} entry={selection.entry} onClose={onClose} />
        {typeof stack === "string" && (
          <>
            <h3>{TEXTS.details.stack}</h3>
            <pre className="stack">{printableLines(stack)}</pre>
          </>
        )}
        <h3>{TEXTS.details.fields}</h3>
        <FieldTable envelope={envelope} sequence={sequence} />
        <h3>{TEXTS.details.json}</h3>
        <pre>{printableLines(toJson(envelope))}</pre>
      </div>
    </aside>
  );
}

/** Returns the record's own fields; those of an audit event are in its metadata. */
function customFields({ type, data }: Envelope): Readonly<Record<string, JsonValue>> {
  return type === "audit_log" ? { ...data.metadata } : data;
}

function toJson(envelope: Envelope): string {
  return JSON.stringify(envelope, undefined, 2);
}

function CopyButton({ label, text }: { readonly label: string; readonly text: () => string }) {
  const [outcome, setOutcome] = useState<string>();
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text());
      setOutcome(TEXTS.details.copied);
    } catch {
      // The user denied it, or there is no clipboard: browsers provide it on HTTPS and localhost only.
      setOutcome(TEXTS.details.notCopied);
    }
  };
  return (
    <button onClick={() => void copy()} onBlur={() => setOutcome(undefined)}>
      <span role="status">{outcome ?? label}</span>
    </button>
  );
}

function FieldTable({ envelope, sequence }: { envelope: Envelope; sequence: number }) {
  const sequenceField = [TEXTS.details.sequence, sequence] as const;
  const fields = [sequenceField, ...flatten(envelope.data as never)];
  return (
    <table>
      <thead className="visually-hidden">
        <tr>
          <th scope="col">{TEXTS.details.field}</th>
          <th scope="col">{TEXTS.details.value}</th>
        </tr>
      </thead>
      <tbody>
        {fields.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{printable(name)}</th>
            <td>{printableLines(typeof value === "string" ? value : JSON.stringify(value))}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Returns nested fields by the names that the filter language uses. */
function flatten(value: JsonValue, path = ""): (readonly [string, JsonValue])[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [[path, value]];
  const inner = Object.entries(value);
  if (inner.length === 0) return [[path, value]];
  return inner.flatMap(([name, field]) => flatten(field, path === "" ? name : `${path}.${name}`));
}

interface RelatedProps {
  readonly session: DashboardSession;
  readonly entry: LogEntry;
  /** Closes the details pane, which covers the panels on a narrow page. */
  readonly onClose: () => void;
}

/** Leads from an audit event to its system logs, and from any record to its trace. */
function Related({ session, entry, onClose }: RelatedProps) {
  const { stats, correlation } = session;
  const template = useSyncExternalStore(stats.subscribe, stats.current)?.trace_url ?? null;
  const isNarrow = useIsNarrow();
  const { envelope, sequence } = entry;
  const fields = customFields(envelope);
  const traceId = toId(fields["trace_id"], TRACE_ID);
  const show = (name: string, term: string): void => {
    correlation.enter({ name, term, sequence });
    if (!isNarrow) return;
    onClose();
    const tab = document.getElementById("tab-system_log");
    tab?.click();
    tab?.focus();
  };
  const link = traceId === undefined ? undefined : traceLink(template, traceId);
  const choices = [
    { field: "instance_id", id: toId(fields["instance_id"]), text: TEXTS.related.instance },
    { field: "trace_id", id: traceId, text: TEXTS.related.trace },
  ];
  const isEvent = envelope.type === "audit_log";
  return (
    <div className="related" role="group" aria-label={TEXTS.related.title}>
      {choices.map(({ field, id, text }) => {
        if (id === undefined || !isEvent) return null;
        const name = text(printable(id));
        return (
          <button key={field} onClick={() => show(name, formatTerm(field, id))}>
            {TEXTS.related.systemLogs(name)}
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

/** Of OpenTelemetry. */
const TRACE_ID = /^[0-9a-f]{32}$/i;

function toId(value: JsonValue | undefined, format = /[^]/): string | undefined {
  return typeof value === "string" && format.test(value) ? value : undefined;
}

/** Returns the address of a trace; undefined if none is configured, or if it is not an HTTP address. */
function traceLink(template: string | null, traceId: string): string | undefined {
  const address = template?.replaceAll("{trace_id}", encodeURIComponent(traceId));
  if (address === undefined || !URL.canParse(address)) return undefined;
  return /^https?:$/.test(new URL(address).protocol) ? address : undefined;
}

/** Says that the system panel shows the logs of an audit event, and leads back. */
export function CorrelationBar({ correlation }: { readonly correlation: Correlation }) {
  const target = useSyncExternalStore(correlation.subscribe, correlation.current);
  if (!target) return null;
  return (
    <div className="bar correlation-bar" role="status">
      <span>{TEXTS.correlation.bar(target.name)}</span>
      <button onClick={() => correlation.leave()}>{TEXTS.correlation.leave}</button>
    </div>
  );
}
