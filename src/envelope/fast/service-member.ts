import { JsonWriter } from "../json-writer.ts";

/** More than send their records to one gateway; beyond it the memory starts anew. */
const SERVICES_MAX = 1000;
/** A longer name is not worth to be remembered. */
const NAME_CHARS_MAX = 1000;

const members = new Map<string, Uint8Array>([["", new Uint8Array()]]);

/** The member of an envelope that names the record's process, as bytes; none where it has no name. */
export function serviceMember(service: string): Uint8Array {
  const known = members.get(service);
  if (known !== undefined) return known;
  const writer = JsonWriter.scratch();
  writer.member("service", service);
  const member = Uint8Array.from(writer.buffer.subarray(0, writer.position));
  if (members.size >= SERVICES_MAX) members.clear();
  if (service.length <= NAME_CHARS_MAX) members.set(service, member);
  return member;
}
