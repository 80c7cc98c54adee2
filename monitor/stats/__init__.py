"""Pure estimators, nulls and decisions: tensors and numbers in, tensors and numbers out."""
