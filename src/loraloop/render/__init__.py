"""What commands show: tables, traces, progress, and the document that every benchmark writes."""
