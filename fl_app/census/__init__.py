"""The census income demonstration: two pods, one half of the table each."""
