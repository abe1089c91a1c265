import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** The page of the dashboard, beside what `tsc` compiles: `dist/dashboard`. */
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  build: {
    outDir: fileURLToPath(new URL("../../dist/dashboard", import.meta.url)),
    emptyOutDir: true,
    // What Debian's browsers have; light-dark() and nesting reach them as they are.
    target: ["chrome123", "firefox128", "safari18"],
    // The policy of the page allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
