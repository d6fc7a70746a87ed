"""The story of a run, one file per stage. Read this package to understand the product."""
