"""From a file to a base: the catalog, fetching, the formats that are read, and conversion."""
