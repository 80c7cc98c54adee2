"""The database: one file of functions per table."""
