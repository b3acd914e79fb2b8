/*
 * Builds src/ into the folder that is named (dist/): one script, one style sheet, two pages, an icon.
 * The same sources give the same bytes.
 */
import { build } from "esbuild";
import { copyFile, mkdir, writeFile, readFile } from "node:fs/promises";

const out = process.argv[2] ?? "dist";
await mkdir(out, { recursive: true });
await build({
  entryPoints: { page: "src/main.js" }, outdir: out, bundle: true, minify: true, format: "iife",
  target: ["chrome111", "firefox115", "safari16.4"], legalComments: "none", logLevel: "warning", charset: "utf8",
});
/* our style behind uPlot's, which came in through the script */
const ours = await build({ entryPoints: ["src/page.css"], bundle: true, minify: true, write: false, charset: "utf8" });
const theirs = await readFile(`${out}/page.css`, "utf8");
const licence = "/* with uPlot 1.6.32, (c) Leon Sorokin, MIT licence: github.com/leeoniya/uPlot */\n";
await writeFile(`${out}/page.css`, licence + theirs + ours.outputFiles[0].text);
const script = await readFile(`${out}/page.js`, "utf8");
await writeFile(`${out}/page.js`, licence + script);
for (const name of ["index.html", "login.html", "icon.svg"]) await copyFile(`src/${name}`, `${out}/${name}`);
