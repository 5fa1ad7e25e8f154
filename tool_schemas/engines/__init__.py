"""The engines behind the grammar interface."""
