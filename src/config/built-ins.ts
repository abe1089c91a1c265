import type {
  ExporterDefinition,
  PluginDefinition,
  ProcessorDefinition,
  ReceiverDefinition,
} from "../plugin/index.ts";

export interface Definitions {
  readonly receivers: ReceiverDefinition;
  readonly processors: ProcessorDefinition;
  readonly exporters: ExporterDefinition;
}

export type Section = keyof Definitions;

/** In the order in which a record passes them. */
export const SECTIONS = ["receivers", "processors", "exporters"] as const satisfies Section[];

export const KIND_OF: { readonly [S in Section]: Definitions[S]["kind"] } = {
  receivers: "receiver",
  processors: "processor",
  exporters: "exporter",
};

type Load = () => Promise<{ readonly default: PluginDefinition }>;

/** The plugins that come with Tailgate. Each is imported on first use. */
const BUILT_INS: { readonly [S in Section]: ReadonlyMap<string, Load> } = {
  receivers: new Map<string, Load>([
    ["otlp", () => import("../../plugins/otlp-receiver.ts")],
    ["filelog", () => import("../../plugins/filelog.ts")],
  ]),
  processors: new Map<string, Load>([
    ["redact", () => import("../../plugins/redact.ts")],
    ["filter", () => import("../../plugins/filter.ts")],
    ["attributes", () => import("../../plugins/attributes.ts")],
    ["parse", () => import("../../plugins/parse.ts")],
    ["throttle", () => import("../../plugins/throttle.ts")],
    ["dedupe", () => import("../../plugins/dedupe.ts")],
  ]),
  exporters: new Map<string, Load>([
    ["websocket", () => import("../../plugins/websocket.ts")],
    ["file", () => import("../../plugins/file.ts")],
    ["audit-file", () => import("../../plugins/audit-file.ts")],
    ["console", () => import("../../plugins/console.ts")],
    ["otlp", () => import("../../plugins/otlp.ts")],
    ["spans", () => import("../../plugins/spans.ts")],
    ["webhook", () => import("../../plugins/webhook.ts")],
  ]),
};

export function builtInNames(section: Section): string[] {
  return [...BUILT_INS[section].keys()];
}

export async function loadBuiltIn(
  section: Section,
  name: string,
): Promise<PluginDefinition | undefined> {
  return (await BUILT_INS[section].get(name)?.())?.default;
}
