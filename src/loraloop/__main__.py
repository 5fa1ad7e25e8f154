"""``python -m loraloop`` is the ``loraloop`` command."""

from loraloop.cli.main import main

if __name__ == "__main__":
    main()
