"""YAML files that people write: checked against a model, with the place of the first mistake."""
