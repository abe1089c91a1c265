import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

function path(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

/**
 * Bundles `tailgate` into a few files in `dist/cli`: otherwise each start would resolve and read three hundred modules of
 * ours and of zod one by one. Modules that are loaded later are separate chunks, and most packages stay external.
 */
export default defineConfig({
  root: path("."),
  // Built-in plugins and the rest must import the same module.
  resolve: { alias: [{ find: /^tailgate\/plugin$/, replacement: path("../plugin/index.ts") }] },
  ssr: { noExternal: ["commander", "leven", "zod"], external: ["tailgate"] },
  build: {
    ssr: true,
    target: "node22",
    outDir: path("../../dist/cli"),
    emptyOutDir: true,
    sourcemap: true,
    license: { fileName: "LICENSES.md" },
    rolldownOptions: {
      input: [path("main.ts"), path("../journal/worker.ts")],
      output: { comments: false, entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" },
    },
  },
});
