"""Tools on the host: what they are, where they come from, and the one place that calls them."""
