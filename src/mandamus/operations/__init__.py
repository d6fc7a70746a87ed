"""What an operator does to the house itself: configure, doctor."""
