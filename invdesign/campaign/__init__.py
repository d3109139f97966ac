"""Campaign files: YAML 1.2, the validated frozen `Campaign`, and the JSON Schema for editors."""
