"""The GraphQL types, one module per concept. Thin: what a field means stands in `daglens.resolvers`."""
