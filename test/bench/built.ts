/**
 * Imports a module of the built package: `path` in dist, with the type of its source. This measures what users run, and
 * plugins find `tailgate/plugin`.
 */
export async function built<Module>(path: `${"src" | "plugins"}/${string}.js`): Promise<Module> {
  try {
    return (await import(new URL(`../../dist/${path}`, import.meta.url).href)) as Module;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new Error(`dist/${path} is not there or not complete: run \`npm run build\` first.`, {
      cause: error,
    });
  }
}
