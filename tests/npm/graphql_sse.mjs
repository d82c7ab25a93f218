// One operation by npm's graphql-sse; prints what it is told, a line of JSON for each.
// node graphql_sse.mjs ADDRESS OPERATION
import { createClient } from "graphql-sse";

const [url, operation] = process.argv.slice(2);
const tell = (told) => console.log(JSON.stringify(told));
createClient({ url, retryAttempts: 0 }).subscribe(JSON.parse(operation), {
  next: (result) => tell({ next: result }),
  error: (error) => tell({ error: error.message }),
  complete: () => tell({ complete: true }),
});
