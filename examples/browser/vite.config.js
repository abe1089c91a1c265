import { defineConfig } from "vite";

export default defineConfig({
  server: {
    proxy: {
      // Keeps the Host header of the page, so that the gateway accepts its Origin.
      "/v1/logs": { target: "http://127.0.0.1:4318", changeOrigin: false },
    },
  },
});
