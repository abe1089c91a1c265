import module from "node:module";
import { pathToFileURL } from "node:url";
import * as pluginInterface from "../plugin/index.ts";

const SPECIFIER = "tailgate/plugin";

const SHARED_URL = "tailgate:plugin";

/** Under this name the interface is global: code that is loaded from a text has no other way to it. */
const KEY = `${SPECIFIER} ${import.meta.url}`;

let isShared = false;

/**
 * From now on, plugins that import `tailgate/plugin` from this package, or have none installed, get the copy that runs
 * already. Without it each start with a plugin of one's own would load the interface and zod a second time, because the
 * command line is bundled. A plugin with another Tailgate beside it keeps that one.
 */
export function shareInterface(): void {
  if (isShared) return;
  isShared = true;
  Object.defineProperty(globalThis, Symbol.for(KEY), { value: pluginInterface });
  const own = ownUrl();
  const names = Object.keys(pluginInterface).join(", ");
  const source = `export const { ${names} } = globalThis[Symbol.for(${JSON.stringify(KEY)})];`;
  module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== SPECIFIER || !context.conditions.includes("import")) {
        return next(specifier, context);
      }
      const found = foundOrMissing(() => next(specifier, context));
      if (found !== undefined && found.url !== own) return found;
      return { url: SHARED_URL, format: "module", shortCircuit: true };
    },
    load(url, context, next) {
      if (url !== SHARED_URL) return next(url, context);
      return { format: "module", source, shortCircuit: true };
    },
  });
}

/** Where this package's own `tailgate/plugin` is; undefined if it was bundled into a program. */
function ownUrl(): string | undefined {
  try {
    return pathToFileURL(module.createRequire(import.meta.url).resolve(SPECIFIER)).href;
  } catch {
    return undefined;
  }
}

function foundOrMissing<Found>(find: () => Found): Found | undefined {
  try {
    return find();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}
