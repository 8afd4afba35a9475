// Checks documents with the official parser of AsyncAPI: node check.js FILE...
import {readFile} from "node:fs/promises";
import {DiagnosticSeverity, Parser} from "@asyncapi/parser";

// Not every tool reads 3.1 yet, which adds nothing for MQTT.
const ACCEPTED = new Set(["asyncapi-latest-version"]);

const parser = new Parser();
let failed = false;
for (const file of process.argv.slice(2)) {
    const {document, diagnostics} = await parser.parse(await readFile(file, "utf8"), {source: file});
    const problems = diagnostics.filter(({code}) => !ACCEPTED.has(code));
    for (const {code, message, path, range, severity} of problems) {
        const line = range.start.line + 1;
        console.error(`${file}:${line}: ${DiagnosticSeverity[severity]}: ${message} (${code}, ${path.join(".")})`);
    }
    if (document === undefined || problems.length > 0) {
        failed = true;
    } else {
        const counts = ["channels", "operations", "messages"].map((kind) => `${document[kind]().length} ${kind}`);
        console.log(`${file}: ${counts.join(", ")}`);
    }
}
process.exit(failed ? 1 : 0);
