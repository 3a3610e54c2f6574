import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** What the built page may do, wherever it is served from; a server may add to it, never take away. */
const POLICY = [
  "default-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "object-src 'none'",
  // Nothing in the page turns a string into markup or code, so the browser may refuse all of it.
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

/** In the build only: the development server puts style sheets inline. */
const policy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    {
      tag: "meta",
      attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
      injectTo: "head-prepend",
    },
  ],
};

export default defineConfig(({ mode }) => ({
  plugins: [policy],
  // `--mode demo`: the page with buttons that break what is behind it, apart from the page that is shipped.
  root: mode === "demo" ? "demo" : ".",
  build: {
    outDir: mode === "demo" ? "../dist-demo" : "dist",
    emptyOutDir: true,
    target: "es2022",
    // A data: address is not 'self'.
    assetsInlineLimit: 0,
    // The polyfill is for browsers that are older than the target.
    modulePreload: { polyfill: false },
  },
  // No test is about speed: what is slow on a busy machine is not wrong.
  test: { testTimeout: 120_000 },
  server: {
    proxy: { "/v1": { target: "http://127.0.0.1:8080", ws: true } },
  },
}));
