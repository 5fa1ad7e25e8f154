"""Tensor operations: quantized linears and adapters on slots. Knows no model and no tokenizer."""
