"""Local runtimes. `base` is the contract, `host` the parent's side, `child` the process, the rest are engines."""
