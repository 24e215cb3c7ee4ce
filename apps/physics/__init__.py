"""Physics simulation: systems and fields learned from their solutions, or from their equations."""
