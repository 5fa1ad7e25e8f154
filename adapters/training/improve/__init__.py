"""What improving a skill needs that no agent takes part in: the rule of what is kept, the recipe, the journal."""
