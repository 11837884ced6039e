"""The application's handlers, and the way of what arrives to them."""
