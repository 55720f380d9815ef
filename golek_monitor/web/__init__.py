"""The fleet over HTTP: JSON, events, figures, orders, and the page that shows them."""
