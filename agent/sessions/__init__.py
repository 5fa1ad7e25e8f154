"""Sessions: conversations that outlive the process."""
