"""What both HTTP doors stand on: the house they open onto, limits, headers, and the waking of followers."""
