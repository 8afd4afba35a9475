// Prints the queries of dashboards as rules for promtool: node queries.js FILE...
import {readFile} from "node:fs/promises";

// What Grafana replaces.
const VARIABLES = {$__rate_interval: "5m", $instance: ".*", $rollout: ".*"};

const rules = [];
for (const file of process.argv.slice(2)) {
    const {panels} = JSON.parse(await readFile(file, "utf8"));
    for (const {expr} of panels.flatMap(({targets}) => targets ?? [])) {
        const query = Object.entries(VARIABLES).reduce((query, [name, value]) => query.replaceAll(name, value), expr);
        rules.push({record: `query:${rules.length}`, expr: query});
    }
}
console.log(JSON.stringify({groups: [{name: "dashboards", rules}]}, null, 1));
