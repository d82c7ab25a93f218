// Operations by npm's graphql-ws, all over one socket; prints what it is told, a line of JSON for each.
// node graphql_ws.mjs ADDRESS CONNECTION_PARAMS OPERATION...
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url, connectionParams, ...operations] = process.argv.slice(2);
const tell = (told) => console.log(JSON.stringify(told));
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: JSON.parse(connectionParams) ?? undefined,
  retryAttempts: 0,
  on: { closed: ({ code }) => tell({ closed: code }) },
});
// All are begun before the first can have ended: that is when it closes its socket.
await Promise.all(
  operations.map(
    (operation, number) =>
      new Promise((ended) =>
        client.subscribe(JSON.parse(operation), {
          next: (result) => tell({ number, next: result }),
          error: (error) => ended(tell({ number, error: error.message ?? error.reason ?? error })),
          complete: () => ended(tell({ number, complete: true })),
        }),
      ),
  ),
);
