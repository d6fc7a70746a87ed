"""The web console: pages that are whole without a script, each behind a session and a declared permission."""
