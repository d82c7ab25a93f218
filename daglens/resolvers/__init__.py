"""What each field of the API means, in terms of the instance. Knows neither HTTP nor GraphQL's types."""
