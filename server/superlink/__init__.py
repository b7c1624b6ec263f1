"""The operator's side: a SuperLink that lets in whom its operator has registered, and nobody else."""
