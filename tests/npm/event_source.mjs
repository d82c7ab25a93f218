// A plain EventSource, as browsers have it, closed by the event `complete`; prints what it is told, a line of JSON for each.
// node event_source.mjs ADDRESS
import { EventSource } from "eventsource";

const [url] = process.argv.slice(2);
const tell = (told) => console.log(JSON.stringify(told));
const source = new EventSource(url);
source.onerror = () => tell({ error: source.readyState });
source.addEventListener("next", (event) => tell({ next: JSON.parse(event.data), id: event.lastEventId }));
source.addEventListener("complete", () => {
  source.close();
  tell({ complete: true });
});
