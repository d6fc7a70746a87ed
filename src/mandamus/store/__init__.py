"""The only door to a database and to the blob store. Everything above speaks in transactions and digests."""
