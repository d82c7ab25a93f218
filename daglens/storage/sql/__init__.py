"""What the SQL storages share: the tables (SQLAlchemy Core, for migrations), and SQL text made for a question.

Importing this package, or any of its modules but `tables`, loads no SQLAlchemy.
"""
