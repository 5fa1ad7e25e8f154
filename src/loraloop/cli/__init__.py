"""The ``loraloop`` command. Each module holds the commands of one topic: they call the library and print."""
