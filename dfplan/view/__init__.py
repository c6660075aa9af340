"""A local page that shows plans while they are made: what it may ask, the answers, the server."""
