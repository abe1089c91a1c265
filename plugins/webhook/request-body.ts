import type { Batch, HostJournal } from "tailgate/plugin";
import { fillTemplate, type Template, type TemplateOptions } from "./template.ts";

/** How bodies of requests are made. */
export interface BodyForm extends TemplateOptions {
  /** Whether a request has one record, and not a list of them. */
  readonly isSingle: boolean;
  /** By default, the body is the envelope or the list of envelopes, each with its id. */
  readonly template: Template | undefined;
  readonly journal: Pick<HostJournal, "uidOf">;
}

const OPEN_LIST = Buffer.from("[");
const SEPARATOR = Buffer.from(",");
const CLOSE_LIST = Buffer.from("]");

export function contentTypeOf({ template }: Pick<BodyForm, "template">): string {
  return typeof template === "string" ? "text/plain; charset=utf-8" : "application/json";
}

/** Returns the body of the request with these records. */
export function bodyOf(batch: Batch, form: BodyForm): Buffer {
  if (form.template !== undefined) return Buffer.from(filled(batch, form.template, form));
  if (form.isSingle) return Buffer.concat(identified(batch, 0, form));
  const parts: Uint8Array[] = [OPEN_LIST];
  for (let index = 0; index < batch.length; index++) {
    if (index > 0) parts.push(SEPARATOR);
    parts.push(...identified(batch, index, form));
  }
  return Buffer.concat([...parts, CLOSE_LIST]);
}

function filled(batch: Batch, template: Template, form: BodyForm): string {
  const sequence = batch.sequence(0);
  const record = { id: form.journal.uidOf(sequence), sequence, envelope: batch.envelope(0) };
  return fillTemplate(template, record, form);
}

/** Returns the parts of an envelope with its id as the first member. */
function identified(batch: Batch, index: number, { journal }: BodyForm): Uint8Array[] {
  const id = JSON.stringify(journal.uidOf(batch.sequence(index)));
  return [Buffer.from(`{"id":${id},`), batch.bytes(index).subarray(1)];
}

/**
 * Returns the id of a request, which is that of its record, or those of its first and its last one. A request that is sent
 * again has the same id, except after a crash, when it may have more or fewer records.
 */
export function requestId(batch: Batch, { journal }: BodyForm): string {
  const first = journal.uidOf(batch.sequence(0));
  if (batch.length === 1) return first;
  return `${first}-${journal.uidOf(batch.sequence(batch.length - 1))}`;
}
