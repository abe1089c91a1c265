import { defineConfig } from "vite";

export default defineConfig({
  server: {
    proxy: {
      // With the Host header of the page, the gateway accepts the page's Origin.
      "/v1/logs": { target: "http://127.0.0.1:4318", changeOrigin: false },
    },
  },
});
