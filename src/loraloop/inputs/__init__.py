"""What commands, servers and evaluations open: bases, runtimes, documents, tools."""
