import { INGESTED_BY } from "./attributes.ts";
import { JsonWriter } from "./json-writer.ts";

/** Whose records are encoded: what they may send, and how their audit events name them. */
export interface Sender {
  readonly maySendSystemLogs: boolean;
  readonly maySendAuditEvents: boolean;
  /** The member {@link INGESTED_BY} of an audit event's metadata with its comma, as bytes; empty for nobody in particular. */
  readonly member: Uint8Array;
  /** Why a record is forbidden; "" if none is. */
  readonly lack: string;
}

/** A sender without authentication: this process, a file, or anyone while authentication is off. */
export const ANYONE: Sender = {
  maySendSystemLogs: true,
  maySendAuditEvents: true,
  member: new Uint8Array(),
  lack: "",
};

/** Returns the sender for a principal and the types of records that its scopes permit. */
export function createSender(
  principal: string,
  maySendSystemLogs: boolean,
  maySendAuditEvents: boolean,
): Sender {
  const missing = [
    ...(maySendSystemLogs ? [] : ["ingest:system"]),
    ...(maySendAuditEvents ? [] : ["ingest:audit"]),
  ];
  const scopes = missing.length > 1 ? "the scopes" : "the scope";
  return {
    maySendSystemLogs,
    maySendAuditEvents,
    member: ingestedByMember(principal),
    lack: missing.length === 0 ? "" : `${principal} lacks ${scopes} ${missing.join(" and ")}`,
  };
}

function ingestedByMember(principal: string): Uint8Array {
  const writer = JsonWriter.scratch();
  writer.member(INGESTED_BY, principal);
  return Uint8Array.from(writer.buffer.subarray(0, writer.position));
}
