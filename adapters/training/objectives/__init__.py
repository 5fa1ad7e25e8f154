"""What a training minimizes: one objective a module."""
