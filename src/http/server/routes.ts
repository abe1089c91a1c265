import type { RefusalHandler, RouteHandler } from "../../plugin/index.ts";

/** What serves a method of a path. */
export interface Route {
  readonly handler: RouteHandler;
  readonly refuse: RefusalHandler | undefined;
}

/** A path's routes by method; `*` takes all methods. */
export type Methods = ReadonlyMap<string, Route>;

/** What plugins serve on the main port. */
export class RouteTable {
  readonly #paths = new Map<string, Map<string, Route>>();
  readonly #reserved: readonly string[];

  /** `reserved` paths are the gateway's own. */
  constructor(reserved: readonly string[]) {
    this.#reserved = reserved;
  }

  /** @throws Error where the place is taken, or the path is none. */
  add(method: string, path: string, handler: RouteHandler, refuse?: RefusalHandler): void {
    if (!path.startsWith("/")) throw new Error(`The route ${path} does not start with a slash.`);
    const methods = this.#paths.get(path) ?? new Map<string, Route>();
    const isTaken = methods.has(method) || methods.has("*") || (method === "*" && methods.size > 0);
    if (isTaken || this.#reserved.includes(path)) {
      throw new Error(`The route ${method} ${path} is taken already.`);
    }
    this.#paths.set(path, methods.set(method, { handler, refuse }));
  }

  at(path: string): Methods | undefined {
    return this.#paths.get(path);
  }
}

/** The path of a request's target, without its query. */
export function pathOf(target: string): string {
  const path = originForm(target);
  const query = path.indexOf("?");
  return query < 0 ? path : path.slice(0, query);
}

/** `GET http://localhost:8001/healthz`, as clients send it to proxies (RFC 9112, 3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/i;

/** The target as paths are written: without the scheme and the authority that it may have. */
export function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const [, , rest] = ABSOLUTE_FORM.exec(target) ?? [];
  if (rest === undefined) return target;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** The authority of a target in absolute form; undefined for a path or `*`, null for anything else. */
export function authorityOf(target: string | undefined): string | undefined | null {
  if (target === undefined || target.startsWith("/") || target === "*") return undefined;
  return ABSOLUTE_FORM.exec(target)?.[1] ?? null;
}

export function routeOf(methods: Methods | undefined, method: string): Route | undefined {
  return methods?.get(method) ?? methods?.get("*");
}
