"""The HTTP door: a route for each verb, problems for errors, and no route without a permission."""
