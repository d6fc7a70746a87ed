"""The tables of the house, one module per domain; `schema` gathers them."""
