import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/** Adds the licence of the font to the build; Vite writes those of bundled code to `license.md`. */
function fontLicense(): Plugin {
  return {
    name: "font-license",
    apply: "build",
    generateBundle() {
      const path = new URL("./node_modules/@fontsource-variable/inter/LICENSE", import.meta.url);
      this.emitFile({
        type: "asset",
        fileName: "assets/inter-license.txt",
        source: readFileSync(path, "utf-8"),
      });
    },
  };
}

export default defineConfig({
  // Relative URLs, so that the page also works below a path prefix of a proxy.
  base: "./",
  plugins: [fontLicense()],
  oxc: { jsx: { runtime: "automatic" } },
  build: {
    outDir: "../otel_bridge_collector/static",
    emptyOutDir: true,
    target: "es2023",
    // The Content-Security-Policy allows no `data:` URLs, so every asset is a file.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "assets/license.md" },
  },
  server: {
    port: 5173,
    proxy: {
      "/ws": { target: "ws://127.0.0.1:12000", ws: true },
      "/monitor": "http://127.0.0.1:12000",
      "/tasks": "http://127.0.0.1:12000",
      "/session": "http://127.0.0.1:12000",
    },
  },
});
