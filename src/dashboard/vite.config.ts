import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** Builds the dashboard into `dist/dashboard`, next to the output of `tsc`. */
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  // The page's folder depends on base_path and on the proxy, which may add a path prefix.
  base: "./",
  build: {
    outDir: fileURLToPath(new URL("../../dist/dashboard", import.meta.url)),
    emptyOutDir: true,
    // Not older than the browsers in Debian, so that light-dark() and nesting need no transformation.
    target: ["chrome123", "firefox128", "safari18"],
    // The page's Content-Security-Policy does not allow data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
