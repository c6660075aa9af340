"""A local web app that shows plans while they are made: requests, answers, document, server."""
