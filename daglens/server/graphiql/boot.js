// Starts GraphiQL with this server's examples. All addresses are relative to the page, so a path prefix needs no setting.
(async function boot() {
  "use strict";
  const at = (path) => new URL(path, location.href);
  const root = document.getElementById("graphiql");

  let examples = { tabs: [], fragments: "", session: null };
  try {
    const answer = await fetch(at("graphiql/examples.json"));
    if (answer.ok) examples = await answer.json();
  } catch (error) {
    console.warn("daglens: no examples", error);
  }

  const socket = at("graphql");
  socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";
  const fetcher = GraphiQL.createFetcher({ url: at("graphql").href, subscriptionUrl: socket.href });

  // Only who came by the page for signing in has something to sign out of.
  function SignOut({ name, role }) {
    const signOut = async () => {
      await fetch(at("logout"), { method: "POST", redirect: "manual" });
      location.assign(at("login"));
    };
    const props = { type: "button", className: "daglens-sign-out", onClick: signOut };
    return React.createElement("button", { ...props, title: `Signed in as ${name || "nobody by name"}: ${role}` }, "Sign out");
  }

  const first = examples.tabs[0];
  const logo = React.createElement(
    GraphiQL.Logo,
    null,
    React.createElement("span", { className: "daglens-logo" }, "daglens"),
    examples.session && React.createElement(SignOut, examples.session),
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
