import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

function path(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

/**
 * `tailgate` in a few files, `dist/cli`: the three hundred modules of ours and of zod would be found and read one by one
 * at every start. What is loaded later stays in files of its own, and most other packages stay where they are.
 */
export default defineConfig({
  root: path("."),
  // The same module, whether plugins that are built in import it or the rest.
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
      input: [path("main.ts"), path("../journal/sqlite-worker.ts")],
      output: { comments: false, entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" },
    },
  },
});
