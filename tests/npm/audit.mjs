// Runs the audits of npm's graphql-http against a server; prints one line of JSON for each.
// node audit.mjs ADDRESS
import { auditServer } from "graphql-http";

const [url] = process.argv.slice(2);
for (const { id, name, status, reason } of await auditServer({ url })) {
  console.log(JSON.stringify({ id, name, status, reason }));
}
