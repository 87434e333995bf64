"""Storage: where a workspace keeps its workflows, artifacts and requirements."""
