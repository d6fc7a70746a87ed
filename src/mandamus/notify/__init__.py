"""Tell: who subscribed to events is sent them, at least once, and what could not be sent is kept until it can."""
