"""The server: GraphQL over HTTP and WebSockets, downloads, health, GraphiQL. What fields mean it doesn't know."""
