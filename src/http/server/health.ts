import type { GatewayView } from "../../gateway/status.ts";
import type { Access } from "../../plugin/index.ts";
import type { Endpoint } from "./application.ts";
import { reasonOf, troubleOf } from "./visibility.ts";

export const HEALTH_PATH = "/healthz";
export const READINESS_PATH = "/readyz";

/** GET /healthz: 200 as long as the event loop runs. */
export const liveness: Endpoint = {
  path: HEALTH_PATH,
  access: "public",
  isVital: true,
  respond(context) {
    context.body = { status: "ok" };
  },
};

/**
 * GET /readyz: 200 while the gateway accepts records, else 503 with the reason. The last error of an exporter is shown
 * but does not make the gateway unready: its records wait, and sending callers elsewhere would not help (reliability.md,
 * rule 17). Strangers may ask, too: they do not see the texts of errors.
 */
export function readiness(view: GatewayView, notReady: () => string | undefined): Endpoint {
  return {
    path: READINESS_PATH,
    access: "public",
    isVital: true,
    respond(context, { access }) {
      const reason = reasonOf(notReady(), access);
      const components = view.components.map((component) => ({
        id: component.id,
        kind: component.kind,
        trouble: troubleOf(component, access),
      }));
      context.status = reason === null ? 200 : 503;
      const config = configState(view, access);
      const status = reason === null ? "ready" : "not_ready";
      context.body = { status, reason, ...(config && { config }), components };
    },
  };
}

/** Returns what became of the last reload; of its error, strangers see the code. Undefined for a view without one. */
function configState({ reloads }: GatewayView, access: Access): object | undefined {
  if (reloads === undefined) return undefined;
  const error = reasonOf(reloads.lastError, access);
  return { status: error === null ? "applied" : "rejected", error };
}
