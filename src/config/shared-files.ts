import { posix } from "node:path";
import { textOf } from "../wire/errors.ts";
import { JOURNAL_PREFIX } from "../runtime/log-dir.ts";
import type { ExporterComponent } from "./components.ts";
import { pathText, type Problems } from "./problems.ts";

/** Folders of the log directory that the gateway needs, by their names, and the exporter that may write there, too. */
const RESERVED_FOLDERS: ReadonlyMap<string, { readonly owner: string; readonly exporter: string }> =
  new Map([
    ["audit", { owner: "the audit trail", exporter: "audit-file" }],
    ["quarantine", { owner: "the exporter otlp with rejected records", exporter: "otlp" }],
  ]);

/**
 * Refuses exporters that would write to a file of another one, to the journal's or where the gateway keeps a folder:
 * each would destroy what the other writes. The folders are reserved even if nothing writes there yet: a file in their
 * place would keep them from being created later.
 */
export function refuseSharedFiles(
  exporters: readonly ExporterComponent[],
  problems: Problems,
): void {
  const owners = new Map<string, string>();
  for (const exporter of exporters) {
    const place = pathText(["exporters", exporter.id]);
    const names = ownedNames(exporter, place, problems);
    const ownerOf = (name: string): string | undefined =>
      owners.get(name) ?? gatewayOwner(name, exporter);
    const taken = names.find((name) => ownerOf(name) !== undefined);
    if (taken === undefined) {
      for (const name of names) owners.set(name, place);
    } else {
      const owner = ownerOf(taken)!;
      problems.add(place, `it would write ${taken} in the log directory, as ${owner} does`);
    }
  }
}

/** What of the gateway's own has that name or a folder above it; undefined if nothing has. */
function gatewayOwner(name: string, { definition }: ExporterComponent): string | undefined {
  const [first = ""] = posix.normalize(name).split("/", 1);
  if (first.startsWith(JOURNAL_PREFIX)) return "the journal";
  const folder = RESERVED_FOLDERS.get(first);
  return folder?.exporter === definition.name ? undefined : folder?.owner;
}

function ownedNames(
  { definition, options }: ExporterComponent,
  place: string,
  problems: Problems,
): string[] {
  try {
    return Array.from(definition.owns?.(options) ?? [], String);
  } catch (error) {
    problems.add(place, `the plugin cannot say which files it writes: ${textOf(error)}`);
    return [];
  }
}
