"""May this request run? `gate` decides, from values alone."""
