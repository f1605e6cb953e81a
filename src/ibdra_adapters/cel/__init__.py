"""CEL as Kubernetes' device selectors use it, evaluated by the reference implementation."""
