"""First-party drivers, one file a device model, reached only through entry points."""
