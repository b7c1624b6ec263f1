"""The page's colours, light and dark; the rest of its style is in style.css.j2."""

PALETTE = {
    "ink": ("#1b2430", "#e6eaf0"),
    "muted": ("#5b6675", "#9aa6b5"),
    "line": ("#d9dee6", "#333c49"),
    "page": ("#f5f6f8", "#12161c"),
    "card": ("#ffffff", "#1a2028"),
    "first": ("#1766b3", "#6cb2f5"),
    "second": ("#b3540e", "#f0a35e"),
    "third": ("#1a7f52", "#5fcf9b"),
    "fourth": ("#8a3fa0", "#d194e3"),
    "fifth": ("#a8324a", "#f28b9c"),
    "sixth": ("#4d6b12", "#b3d165"),
    "seventh": ("#0f6f78", "#59c3cc"),
    "eighth": ("#5a4fcf", "#a79ff7"),
    "ninth": ("#8a6a00", "#dcbc4f"),
    "tenth": ("#b02f86", "#f08bcb"),
    "good": ("#17693f", "#67d39c"),
    "bad": ("#a32638", "#ff8f9f"),
}
"""Name -> its colour in the light and in the dark scheme."""
