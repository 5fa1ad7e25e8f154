"""JSON Schemas: read in any draft, brought into one form, and checked."""
