"""What was found, for people: drawings, curves, and pages that open anywhere."""
