// Starts GraphiQL with this server's examples. All addresses are relative to the page, so a path prefix needs no setting.
(async function boot() {
  "use strict";
  const at = (path) => new URL(path, location.href);
  const root = document.getElementById("graphiql");

  let examples = { tabs: [], fragments: "" };
  try {
    const answer = await fetch(at("graphiql/examples.json"));
    if (answer.ok) examples = await answer.json();
  } catch (error) {
    console.warn("daglens: no examples", error);
  }

  const socket = at("graphql");
  socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";
  const fetcher = GraphiQL.createFetcher({ url: at("graphql").href, subscriptionUrl: socket.href });

  const first = examples.tabs[0];
  const logo = React.createElement(
    GraphiQL.Logo,
    null,
    React.createElement("span", { className: "daglens-logo" }, "daglens"),
  );
  ReactDOM.createRoot(root).render(
    React.createElement(
      GraphiQL,
      {
        fetcher,
        defaultTabs: examples.tabs.length ? examples.tabs : undefined,
        externalFragments: examples.fragments || undefined,
        // GraphiQL takes those of the first tab from here only.
        variables: first ? first.variables : undefined,
        defaultEditorToolsVisibility: "variables",
        shouldPersistHeaders: false,
      },
      logo,
    ),
  );
})();
