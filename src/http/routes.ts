import type { RouteHandler } from "../plugin.ts";

/** A path's handlers by method; `*` takes all methods. */
export type Methods = ReadonlyMap<string, RouteHandler>;

/** What plugins serve on the main port. */
export class RouteTable {
  readonly #paths = new Map<string, Map<string, RouteHandler>>();
  readonly #reserved: readonly string[];

  /** `reserved` paths are the gateway's own. */
  constructor(reserved: readonly string[]) {
    this.#reserved = reserved;
  }

  /** @throws Error where the place is taken, or the path is none. */
  add(method: string, path: string, handler: RouteHandler): void {
    if (!path.startsWith("/")) throw new Error(`The route ${path} does not start with a slash.`);
    const methods = this.#paths.get(path) ?? new Map<string, RouteHandler>();
    const isTaken = methods.has(method) || methods.has("*") || (method === "*" && methods.size > 0);
    if (isTaken || this.#reserved.includes(path)) {
      throw new Error(`The route ${method} ${path} is taken already.`);
    }
    this.#paths.set(path, methods.set(method, handler));
  }

  at(path: string): Methods | undefined {
    return this.#paths.get(path);
  }
}

/** The path of a request's target, without its query. */
export function pathOf(target: string): string {
  const query = target.indexOf("?");
  return query < 0 ? target : target.slice(0, query);
}
