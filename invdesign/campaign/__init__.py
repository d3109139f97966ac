"""Campaign files: YAML 1.2 in, a validated frozen `Campaign` out, and the JSON Schema editors check with."""
