"""The census income demonstration."""
