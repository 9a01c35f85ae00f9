"""tools/bench: measures tierd beside its rivals and writes a report. ARCHITECTURE.md, section 12a."""
