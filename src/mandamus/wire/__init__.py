"""What goes over HTTP: one model per thing, for the server that sends it and the client that reads it."""
