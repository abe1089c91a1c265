import type { RouteAccess } from "tailgate/plugin";

/** The scopes for log records; a sender needs the one for the type of each record. */
export const INGEST_SCOPES = ["ingest:system", "ingest:audit"] as const;

/** Who may send traces and metrics, which are forwarded. */
export const FORWARD_ACCESS: RouteAccess = ["ingest:system"];
