import { textOf } from "../errors.ts";
import type { ExporterComponent } from "./components.ts";
import { pathText, type Problems } from "./problems.ts";

/** Its files are journal.db, journal.lock and the like. */
const JOURNAL_PREFIX = "journal.";

/** Refuses exporters that would write to a file of another one, or to the journal's: each would destroy what the other writes. */
export function refuseSharedFiles(
  exporters: readonly ExporterComponent[],
  problems: Problems,
): void {
  const owners = new Map<string, string>();
  for (const exporter of exporters) {
    const place = pathText(["exporters", exporter.id]);
    const names = ownedNames(exporter, place, problems);
    const taken = names.find((name) => owners.has(name) || name.startsWith(JOURNAL_PREFIX));
    if (taken === undefined) {
      for (const name of names) owners.set(name, place);
    } else {
      const owner = owners.get(taken) ?? "the journal";
      problems.add(place, `it would write ${taken} in the log directory, as ${owner} does`);
    }
  }
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
