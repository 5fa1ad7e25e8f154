"""What a skill computes: the form that every method reduces to, and how it meets a forward."""
