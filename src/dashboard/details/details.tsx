import { useState, type ReactNode } from "react";
import type { Envelope, JsonValue } from "../../wire/envelope.ts";
import { printable, printableLines } from "../../wire/printable.ts";
import type { Selection } from "./selection.ts";
import { TEXTS } from "../texts.ts";

interface DetailsProps {
  readonly selection: Selection;
  /** The address of the page at which it shows this record. */
  readonly link: string;
  readonly onClose: () => void;
  /** Shows what happened around it; undefined where nothing hides that. */
  readonly onContext: (() => void) | undefined;
  /** What else there is to do with the record. */
  readonly children: ReactNode;
}

/** All of one record. */
export function Details({ selection, link, onClose, onContext, children }: DetailsProps) {
  const { envelope, sequence } = selection.entry;
  const stack = stackOf(envelope);
  return (
    <aside
      className="details"
      aria-label={TEXTS.details.title}
      onKeyDown={({ key }) => key === "Escape" && onClose()}
    >
      <div className="details-head">
        <h2>
          <span className="level" data-level={envelope.data.level}>
            {envelope.data.level}
          </span>{" "}
          {TEXTS.details.title} {sequence}
        </h2>
        {onContext && (
          <button type="button" onClick={onContext}>
            {TEXTS.details.context}
          </button>
        )}
        <CopyButton label={TEXTS.details.copyJson} text={() => jsonOf(envelope)} />
        <CopyButton label={TEXTS.details.copyLink} text={() => link} />
        <button type="button" onClick={onClose}>
          {TEXTS.details.close}
        </button>
      </div>
      <div className="details-body" tabIndex={0} role="region" aria-label={TEXTS.details.title}>
        <p className="details-message">{printableLines(envelope.data.message)}</p>
        {children}
        {stack !== undefined && (
          <>
            <h3>{TEXTS.details.stack}</h3>
            <pre className="stack">{printableLines(stack)}</pre>
          </>
        )}
        <h3>{TEXTS.details.fields}</h3>
        <FieldTable envelope={envelope} sequence={sequence} />
        <h3>{TEXTS.details.json}</h3>
        <pre>{printableLines(jsonOf(envelope))}</pre>
      </div>
    </aside>
  );
}

function FieldTable({ envelope, sequence }: { envelope: Envelope; sequence: number }) {
  const fields = [[TEXTS.details.sequence, sequence] as const, ...fieldsOf(envelope.data as never)];
  return (
    <table>
      <thead className="unseen">
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

/** Nested fields under the names by which the filter language finds them. */
function fieldsOf(value: JsonValue, path = ""): (readonly [string, JsonValue])[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [[path, value]];
  const inner = Object.entries(value);
  if (inner.length === 0) return [[path, value]];
  return inner.flatMap(([name, field]) => fieldsOf(field, path === "" ? name : `${path}.${name}`));
}

const STACK = "exception.stacktrace";

function stackOf({ type, data }: Envelope): string | undefined {
  const fields = type === "audit_log" ? data.metadata : data;
  const stack = fields?.[STACK];
  return typeof stack === "string" ? stack : undefined;
}

function jsonOf(envelope: Envelope): string {
  return JSON.stringify(envelope, undefined, 2);
}

function CopyButton({ label, text }: { readonly label: string; readonly text: () => string }) {
  const [said, setSaid] = useState<string>();
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text());
      setSaid(TEXTS.details.copied);
    } catch {
      // Forbidden, or, on a page that came neither by HTTPS nor from this machine, not there at all.
      setSaid(TEXTS.details.notCopied);
    }
  };
  return (
    <button type="button" onClick={() => void copy()} onBlur={() => setSaid(undefined)}>
      <span role="status">{said ?? label}</span>
    </button>
  );
}
