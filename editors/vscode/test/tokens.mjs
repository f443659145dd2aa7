// Compares what VS Code's own tokenizer makes of the specs with the listings that the Python tests keep:
// where both agree, Pygments and the editor show the same colours. Run with `npm install && npm test`.
import { readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import onig from "vscode-oniguruma";
import textmate from "vscode-textmate";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..", "..");
const grammarFile = join(here, "..", "syntaxes", "dsk.tmLanguage.json");
const listings = join(root, "tests", "__snapshots__", "test_highlighting");

const wasm = createRequire(import.meta.url).resolve("vscode-oniguruma/release/onig.wasm");
await onig.loadWASM(readFileSync(wasm).buffer);

const registry = new textmate.Registry({
  onigLib: Promise.resolve({
    createOnigScanner: (patterns) => new onig.OnigScanner(patterns),
    createOnigString: (text) => new onig.OnigString(text),
  }),
  loadGrammar: async () => textmate.parseRawGrammar(readFileSync(grammarFile, "utf8"), grammarFile),
});
const grammar = await registry.loadGrammar("source.dsk");

function listing(text) {
  const rows = [];
  let stack = textmate.INITIAL;
  text.split("\n").forEach((line, number) => {
    const result = grammar.tokenizeLine(line, stack);
    stack = result.ruleStack;
    for (const { startIndex, endIndex, scopes } of result.tokens) {
      const piece = line.slice(startIndex, endIndex);
      if (piece.trim()) rows.push(`${number + 1}:${startIndex} ${scopes.slice(1).join(" ")} ${piece.trim()}`);
    }
  });
  return rows.join("\n") + "\n";
}

const specs = ["examples", "tests/highlight"]
  .map((folder) => join(root, folder))
  .flatMap((folder) => readdirSync(folder).filter((name) => name.endsWith(".dsk")).map((name) => join(folder, name)));
const nameOf = (spec) => basename(spec, ".dsk");
const listingOf = (spec) => readdirSync(listings).find((entry) => entry.includes(`[${nameOf(spec)}]`));
const listed = specs.filter(listingOf);
let failed = 0;
for (const spec of listed) {
  const name = nameOf(spec);
  const want = readFileSync(join(listings, listingOf(spec)), "utf8").split("\n");
  const have = listing(readFileSync(spec, "utf8")).split("\n");
  const at = have.findIndex((row, i) => row !== want[i]);
  if (at < 0 && have.length === want.length) continue;
  failed += 1;
  console.error(`${name}: VS Code says\n  ${have[at] ?? "(nothing)"}\nthe listing says\n  ${want[at] ?? "(nothing)"}`);
}
console.log(`${listed.length - failed} passed, ${failed} failed`);
process.exitCode = failed || !listed.length ? 1 : 0;
