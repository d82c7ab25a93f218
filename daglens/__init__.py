"""daglens: the history of data pipelines over a typed GraphQL API with live subscriptions."""

__version__ = "0.1.0"
